.PHONY: help demo test check conformance conformance-sandbox bench bench-instructions compare matrix fuzz chaos soak sanitize clean

help:
	@echo "make demo        install what is missing, build, and run an example: source_metrics, or EXAMPLE=name"
	@echo "make test        install what is missing, build, and run every check and test"
	@echo "make check       formatting, lints, types: no tests"
	@echo "make conformance CPython's own tests of asyncio, on its loop and on ours; TESTS=test_ssl for some of them"
	@echo "make conformance-sandbox  those of os, io, socket and tempfile, in the default sandbox and without Erlang"
	@echo "make bench       measure, with the floors beside the figures"
	@echo "make bench-instructions  count the instructions of calls and conversions (valgrind); OPTIONS=--record"
	@echo "make fuzz        inputs made at random: SECONDS=600 SEED=7"
	@echo "make sanitize    the core suites under the address sanitizer, py_core under the thread sanitizer"
	@echo "make chaos       everything is ended at random: SECONDS=600 SEED=7"
	@echo "make soak        a mixed load, under which nothing may grow: SECONDS=3600 SEED=7"
	@echo "make compare     measure against other ways to run Python, and write docs/comparison.md"
	@echo "make matrix      the tests on each supported pair of OTP and Python (Debian, root)"
	@echo "make clean       remove what was built"

demo:
	@scripts/setup.sh demo $(EXAMPLE)
	@scripts/demo.sh $(EXAMPLE)

test:
	@scripts/setup.sh test
	@scripts/run-checks.sh test

check:
	@scripts/setup.sh test
	@scripts/run-checks.sh check

conformance:
	@scripts/setup.sh conformance
	@scripts/conformance.sh $(TESTS)

conformance-sandbox:
	@scripts/setup.sh conformance
	@scripts/conformance.sh --package test --loops process,default --exceptions test/conformance/sandbox.eterm \
		$(or $(TESTS),test_os test_io test_socket test_tempfile)

bench:
	@scripts/setup.sh demo
	@bench/run.sh

bench-instructions:
	@scripts/setup.sh demo
	@bench/instructions.sh $(OPTIONS)

compare:
	@scripts/setup.sh demo
	@bench/compare/run.sh --page

matrix:
	@scripts/setup.sh test
	@scripts/matrix.sh

fuzz:
	@scripts/setup.sh test
	@scripts/fuzz.sh $(or $(SECONDS),600) $(SEED)

sanitize:
	@scripts/setup.sh demo
	@scripts/sanitize.sh

chaos:
	@scripts/setup.sh test
	@scripts/long-test.sh chaos $(or $(SECONDS),600) $(SEED)

soak:
	@scripts/setup.sh test
	@scripts/long-test.sh soak $(or $(SECONDS),3600) $(SEED)

clean:
	rm -rf _build target priv/py_nif.so
