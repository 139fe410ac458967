"""The driver on /dev/fuse itself: the kernel's protocol, the loop that answers, notifications, mounting."""
