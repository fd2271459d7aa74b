"""Run every benchmark: ``make bench``."""

from __future__ import annotations

from benchmarks import death, handover, when_it_helps

if __name__ == "__main__":
    handover.main()
    when_it_helps.main()
    death.main()
