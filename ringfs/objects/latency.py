"""How long requests of one kind take on one connection, and from when on one of them is late. Pure."""

#: How much a new measurement counts for the mean and for the deviation, as in TCP (RFC 6298).
_MEAN_GAIN = 1 / 8
_DEVIATION_GAIN = 1 / 4
#: Late is what takes so many times what is usual, deviation included.
_LATE_TIMES = 3
_USUAL_DEVIATIONS = 2


class Latency:
    """A smoothed time and its mean deviation, in seconds."""

    __slots__ = ("_is_measured", "deviation_s", "mean_s")

    def __init__(self, guess_s: float) -> None:
        #: The guess, until something has been measured.
        self.mean_s = guess_s
        self.deviation_s = guess_s / 2
        self._is_measured = False

    def note(self, took_s: float) -> None:
        """Take a measurement into account."""
        if not self._is_measured:
            self._is_measured = True
            self.mean_s, self.deviation_s = took_s, took_s / 2
            return
        error = took_s - self.mean_s
        self.mean_s += error * _MEAN_GAIN
        self.deviation_s += (abs(error) - self.deviation_s) * _DEVIATION_GAIN

    def late_after_s(self, least_s: float, most_s: float) -> float:
        """A request that has taken longer is late; within the bounds given."""
        return min(max(least_s, _LATE_TIMES * (self.mean_s + _USUAL_DEVIATIONS * self.deviation_s)), most_s)
