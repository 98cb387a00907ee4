#!/bin/sh
# Compiles and runs the example.
exec "$(dirname "$0")/../../scripts/run-example.sh" one_log
