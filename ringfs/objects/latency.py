"""How long requests of one kind take, on one connection and on most of them, and from when on one of them is late. Pure."""

from math import inf

#: How much a new measurement counts for the mean and for the deviation, as in TCP (RFC 6298).
_MEAN_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
#: Late is what takes so many times what is usual, deviation included.
_LATE_TIMES = 3
_USUAL_DEVIATIONS = 2
#: What is late on most connections is looked up again after so many measurements.
_NOTES_MAX = 32


class Latency:
    """A smoothed time and its mean deviation, in seconds."""

    __slots__ = ("deviation_s", "is_measured", "mean_s")

    def __init__(self, guess_s: float) -> None:
        #: The guess, until something has been measured.
        self.mean_s = guess_s
        self.deviation_s = guess_s / 2
        self.is_measured = False

    def note(self, took_s: float) -> None:
        """Take a measurement into account."""
        if not self.is_measured:
            self.is_measured = True
            self.mean_s, self.deviation_s = took_s, took_s / 2
            return
        error = took_s - self.mean_s
        self.mean_s += error * _MEAN_GAIN
        self.deviation_s += (abs(error) - self.deviation_s) * _DEVIATION_GAIN

    def late_after_s(self, least_s: float, most_s: float) -> float:
        """A request that has taken longer is late; within the bounds given."""
        return min(max(least_s, self.late_s), most_s)

    @property
    def late_s(self) -> float:
        """The same, without bounds."""
        return _LATE_TIMES * (self.mean_s + _USUAL_DEVIATIONS * self.deviation_s)


class Latencies:
    """Those of all connections. What is late on most is late on each: one that has become slow, or stalls now and then, is used
    to it. If most have become slow, slow is usual."""

    def __init__(self, guess_s: float) -> None:
        self._guess_s = guess_s
        self._all: list[Latency] = []
        self._late_s = inf
        self._note_count = 0

    def one_more(self) -> Latency:
        """That of another connection."""
        self._all.append(Latency(self._guess_s))
        return self._all[-1]

    def forget(self, gone: Latency) -> None:
        """The connection is needed no more."""
        self._all = [latency for latency in self._all if latency is not gone]

    def note(self, latency: Latency, took_s: float) -> None:
        """Take a measurement into account."""
        latency.note(took_s)
        self._note_count += 1
        if self._note_count >= _NOTES_MAX or self._late_s == inf:
            self._note_count = 0
            measured = sorted(each.late_s for each in self._all if each.is_measured)
            # Of two, the better one. None: what was noted came too late, for a connection that is forgotten.
            self._late_s = measured[(len(measured) - 1) // 2] if measured else inf

    def late_after_s(self, latency: Latency, least_s: float, most_s: float) -> float:
        """A request on that connection that has taken longer is late; within the bounds given."""
        return min(max(least_s, min(latency.late_s, self._late_s)), most_s)
