# Everything here needs Python and make, nothing else: each target makes the environments that it runs in.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The newest pandas on the newest Python of this machine, the oldest pandas on the oldest, wherever they were installed.
NEWEST = $(shell $(PYTHON) -m tests.pythons.find newest)
OLDEST = $(shell $(PYTHON) -m tests.pythons.find oldest)
OLD := .venv-oldest
# What is the same on each pandas, and takes long.
PROCESSES := engines checkpoint progress diagnostics cli \
	$(patsubst %,core/test_%.py,chunking cpu_count frozen mistakes seeds tracebacks) \
	$(patsubst %,transport/test_%.py,shared_memory stale_code) \
	$(patsubst %,worker/test_%.py,capture_output context_variables initializer levels libraries loading replicate_state resources) \
	$(patsubst %,execution/test_%.py,big interrupt runner scheduler stop_iteration) \
	$(patsubst %,api/test_%.py,background editor imap typing) \
	$(patsubst %,testing/test_%.py,leaks saboteurs) \
	$(patsubst %,project/test_%.py,benchmarks contributing docs docs_snippets docstrings faults frontends fuzz layers limited package pythons readme service stress)
# A test waits as often as it computes: for processes that start, sleep, or are ended.
JOBS := -n 4 --dist loadfile --no-loadscope-reorder
# Each in a process of its own, beside each other and beside the oracle: they wait more than they compute.
CLUSTERS := ray dask others
# Hundreds of processes import the package and the tests: the first one compiles them for all, also where the
# environment asks for no bytecode.
export PYTHONDONTWRITEBYTECODE :=
# What a step may take. It says which test it was in when it takes longer, and ends all that it started.
LIMITED = $(PYTHON) -m tests.limited
LIMIT = $(LIMITED) 3600 $(BIN)/python
LIMIT_OLD = ORACLE=quarter $(LIMITED) 3600 $(OLD)/bin/python
# What the benchmarks compare with: packages that do not run on pandas 3.
PEERS := .venv-peers
BODO := .venv-bodo
SCREENSHOTS := .venv-screenshots
DOCS := .venv-docs
RELEASE := .venv-release
FROZEN := .venv-frozen
PIP := -m pip --disable-pip-version-check --quiet install

.PHONY: help demo test test-newest oracle-newest test-oldest lint types notebooks package docs faults frozen pythons bench screenshots dist clean

help:
	@echo "make demo    what is found on this machine, and the main job on real data beside plain pandas"
	@echo "make test    what CI runs: lint, types, tests on the newest and the oldest pandas, doctests, notebooks"
	@echo "             by themselves: make lint, types, test-newest, test-oldest, notebooks, oracle-newest, and:"
	@echo "make package the sdist and the wheel, installed into a bare environment and run there (in test-newest, too)"
	@echo "make docs    the documentation as pages, in docs/_build/html; warnings and broken links are errors"
	@echo "make faults  everything that can go wrong: what a user sees of it, how soon, and what is left behind"
	@echo "make frozen  programs that PyInstaller makes of a script, with each engine and start method; not in CI"
	@echo "make pythons  the core of the tests on each Python from 3.11 to 3.15, without the GIL, and on simulated macOS"
	@echo "             and Windows; what is not on this machine is installed in a chroot, which takes root; not in CI"
	@echo "make bench   the benchmarks beside plain pandas and the peers; tables and pictures in benchmarks/results"
	@echo "make screenshots  what a user sees in JupyterLab (with Chromium) and in a terminal; notebooks/screenshots"
	@echo "make dist    the files of a release, checked, in dist; RELEASING.md says what comes before and after"
	@echo "make clean   remove what all these make: environments, caches, dist"

# An environment: what is installed (WHAT), upon which Python (ON).
%/installed: pyproject.toml
	@echo "$(@D): $(ON), $$($(ON) --version)"
	$(LIMITED) 3600 $(ON) -m venv --clear $(@D)
	$(LIMITED) 3600 $(@D)/bin/python $(PIP) --upgrade pip
	$(LIMITED) 3600 $(@D)/bin/python $(PIP) $(WHAT)
	touch $@

ON = $(PYTHON)
$(VENV)/installed: ON := $(NEWEST)
$(OLD)/installed: ON := $(OLDEST)
$(VENV)/installed: WHAT = -e '.[test,lint,notebooks,bench,dask,ray,numba]' 'pandas>=3'
$(OLD)/installed: WHAT = -e '.[test,numba]' 'pandas==2.2.*'
$(PEERS)/installed: WHAT = -e . 'pandas==2.3.*' aiopandas pandarallel mapply parallel-pandas swifter
$(BODO)/installed: WHAT = bodo 'pandas==3.0.*'
$(SCREENSHOTS)/installed: WHAT = -e '.[screenshots]' 'pandas>=3'
$(DOCS)/installed: WHAT = -e '.[docs]' 'pandas>=3'
$(RELEASE)/installed: WHAT = build twine 'readme_renderer[md]'
$(FROZEN)/installed: WHAT = -e '.[frozen]' 'pandas>=3'

demo: $(VENV)/installed
	$(BIN)/python -m pdparallel

test: lint types test-newest test-oldest notebooks

lint: $(VENV)/installed
	$(LIMIT) -m ruff check .
	$(LIMIT) -m ruff format --check .

types: $(VENV)/installed
	$(LIMIT) -m mypy
	$(LIMIT) -m pytest -p no:randomly tests/api/test_typing.py

test-newest: $(VENV)/installed
	$(MAKE) --jobs 2 --output-sync $(CLUSTERS:%=cluster-%) oracle-newest
	$(LIMIT) -m pytest $(JOBS) tests --ignore tests/oracle --ignore tests/clusters --ignore tests/api/test_typing.py
	$(LIMIT) -m pytest -n 2 --dist loadfile --doctest-modules pdparallel

oracle-newest: $(VENV)/installed
	$(LIMIT) -m pytest -n 3 tests/oracle

cluster-%: $(VENV)/installed
	$(LIMIT) -m pytest tests/clusters/test_$*.py

test-oldest: $(OLD)/installed
	$(LIMIT_OLD) -m pytest -n 3 tests/oracle
	$(LIMIT_OLD) -m pytest $(JOBS) tests --ignore tests/oracle --ignore tests/faults --ignore tests/clusters $(PROCESSES:%=--ignore tests/%)

notebooks: $(VENV)/installed
	$(LIMIT) -m pytest -n 2 --nbmake --nbmake-timeout=600 --timeout=900 -p no:randomly notebooks

package: $(VENV)/installed
	$(BIN)/python -m pytest -p no:randomly tests/project/test_package.py

screenshots: $(SCREENSHOTS)/installed
	$(SCREENSHOTS)/bin/python notebooks/screenshots/take.py

docs: $(DOCS)/installed
	rm -rf docs/_build
	$(DOCS)/bin/python docs/gather.py docs/_build/source
	$(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --quiet -c docs docs/_build/source docs/_build/html
	$(DOCS)/bin/python docs/links.py docs/_build/html
	@if $(DOCS)/bin/python -c "import urllib.request as web; web.urlopen('https://docs.python.org/3/', timeout=5)" 2>/dev/null; then \
		$(DOCS)/bin/python -m sphinx --quiet -b linkcheck -c docs docs/_build/source docs/_build/linkcheck; \
	else echo "No network: links to other sites were not looked at."; fi
	@echo "docs/_build/html/index.html"

faults: $(VENV)/installed
	$(BIN)/python -m tests.faults

frozen: $(FROZEN)/installed
	$(FROZEN)/bin/python tests/frozen/build.py

pythons:
	$(PYTHON) -m tests.pythons

bench: $(VENV)/installed $(PEERS)/installed $(BODO)/installed
	$(BIN)/python -m benchmarks

dist: $(RELEASE)/installed
	rm -rf dist
	$(RELEASE)/bin/python -m build
	$(RELEASE)/bin/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) $(OLD) $(PEERS) $(BODO) $(SCREENSHOTS) $(DOCS) $(RELEASE) $(FROZEN) .pythons build dist docs/_build benchmarks/results/quick
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
