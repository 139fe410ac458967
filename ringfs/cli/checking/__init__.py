"""`ringfs check`: copying a snapshot, proving the namespace, finding every object on the nodes. The verb is cli/check.py."""
