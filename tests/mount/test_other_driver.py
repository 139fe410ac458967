"""A choice of the mount tests on the driver that is not the tested one: what is peculiar to a driver, and what any must do.

RINGFS_TEST_DRIVER runs all of them on either (tests/README.md).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.fuse import DRIVERS
from tests.mount.test_attributes import (  # noqa: F401
    test_chmod,
    test_ctime_and_mtime,
    test_truncate,
    test_truncate_to_the_same_size,
    test_utime_omit_and_now,
)
from tests.mount.test_content import test_shrink_then_grow_reads_zeros, test_writes_across_edges  # noqa: F401
from tests.mount.test_declined import file, test_birth_time, test_umask_under_a_default_acl  # noqa: F401
from tests.mount.test_directories import test_mkdir, test_seek_and_tell  # noqa: F401
from tests.mount.test_links import test_file_without_a_name, test_symlink_keeps_its_text  # noqa: F401
from tests.mount.test_open import test_append_by_processes_at_once, test_mode_and_umask  # noqa: F401
from tests.mount.test_rename import test_matrix  # noqa: F401
from tests.mount.test_two_mounts import (  # noqa: F401
    test_changed_there_while_open_here,
    test_closed_here_open_there,
    test_names_made_here_are_seen_there,
    test_partial_overwrites_in_turn,
)
from tests.mount.test_xattrs import test_flags, test_large_values, test_trusted_is_for_root  # noqa: F401
from tests.support.mounts import DevCluster, driver_under_test, open_directory, substitute_directory


@pytest.fixture(scope="module")
def driver() -> str:
    """The other one."""
    return next(name for name in DRIVERS if name != driver_under_test())


@pytest.fixture(scope="module")
def other_mount_point(request: pytest.FixtureRequest, driver: str) -> Path:
    """A mount of the shared cluster through the other driver."""
    if substitute_directory() is not None:
        pytest.skip("this is about drivers")
    cluster: DevCluster = request.getfixturevalue("cluster")
    return cluster.another_mount("other-driver", driver)


@pytest.fixture
def place(other_mount_point: Path) -> Iterator[Path]:
    """In place of the one on the tested driver."""
    with open_directory(other_mount_point) as directory:
        yield directory


@pytest.fixture
def there(place: Path, other_mount_point: Path, mount_point: Path) -> Path:
    """The same directory through the tested driver: two mounts of different drivers agree, too."""
    return mount_point / place.relative_to(other_mount_point)
