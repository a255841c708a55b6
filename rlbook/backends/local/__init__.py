"""Workers in this very process: no start-up, no speed-up, and the easiest place to debug."""

from rlbook.backends.local.backend import Local as Local
