"""The CPU-bound work: the same function runs in contexts and in processes of their own."""


def work(rounds: int) -> int:
    """Integers, a dict and a list, all small: what interpreters are busy with, and no C library."""
    counts: dict[int, int] = {}
    recent = [0] * 16
    value = 1
    for i in range(rounds):
        value = (value * 1103515245 + 12345) % 2147483648
        counts[value % 97] = counts.get(value % 97, 0) + 1
        recent[i % 16] = value
    return sum(recent) % 1000 + len(counts)
