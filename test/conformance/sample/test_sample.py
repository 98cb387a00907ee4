"""Tests that come out in every possible way, for the test of the harness itself."""

import asyncio
import ctypes
import os
import signal
import time
import unittest

from sample import loops


def tested():
    """Whether the loop under test is not the control."""
    return asyncio.new_event_loop is loops.Tested


class Outcomes(unittest.TestCase):
    def test_passes(self):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def test_fails_with_both(self):
        self.fail("with both")

    def test_fails(self):
        self.assertFalse(tested())

    def test_skips(self):
        if tested():
            self.skipTest("a reason")

    @unittest.expectedFailure
    def test_fails_as_expected(self):
        self.fail("expected")

    def test_fails_in_part(self):
        for i in range(3):
            with self.subTest(i):
                self.assertFalse(tested() and i == 1)


class Ends(unittest.TestCase):
    def test_1_hangs(self):
        if tested():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass

    def test_2_kills_the_node(self):
        if tested():
            # That of Python is refused.
            ctypes.CDLL(None).kill(os.getpid(), signal.SIGKILL)

    def test_3_eats_memory(self):
        if tested():
            bytearray(1 << 40)

    def test_4_runs_nevertheless(self):
        pass
