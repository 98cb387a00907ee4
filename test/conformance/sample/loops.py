"""The loop under test, in the test of the harness itself."""

import asyncio


class Tested(asyncio.SelectorEventLoop):
    """As the control, but for its name."""
