"""Samples that anyone can make: eight numbers from -1 to 1, and a class that is a function of them."""


def samples(number):
    """So many of them, the same each time (Knuth's MMIX generator)."""
    state = 1
    for _ in range(number):
        values = []
        for _ in range(8):
            state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
            values.append((state >> 40) / 2**23 - 1)
        yield values, int(values[0] + values[1] * values[2] > 0)
