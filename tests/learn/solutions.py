"""A right answer to every task that the lessons judge themselves, as a learner might write it."""


TIDY = '''
def tidy(entries):
    points = sorted({p for start, end, _ in entries for p in (start, end)})
    out = []
    for low, high in zip(points, points[1:]):
        kinds = [kind for start, end, kind in entries if start <= low and high <= end]
        if not kinds:
            continue
        if out and out[-1][1] == low and out[-1][2] == max(kinds):
            out[-1] = (out[-1][0], high, max(kinds))
        else:
            out.append((low, high, max(kinds)))
    return out
'''
RESERVE = '''
def reserve(regions, start, end):
    out = []
    for low, high in sorted([*regions, (start, end)]):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out
'''
NODE_OF = '''
def node_of(ranges, address):
    return next((node for start, end, node in ranges if start <= address < end), None)
'''
SPLIT = '''
def split(start, end):
    out = []
    while start < end:
        order = 10
        while start % (1 << order) or start + (1 << order) > end:
            order -= 1
        out.append((start, order))
        start += 1 << order
    return out
'''
LOG_STAMP = '''
def log_stamp(cycles, khz):
    us = cycles * 1000 // khz
    return f"[{us // 1000000:5d}.{us % 1000000:06d}]"
'''
CONTENT = '''
def content_bytes(data):
    more = data[0] >> 6
    if not more:
        return data[0] - 1
    total = data[0] & 15 | int.from_bytes(data[1 : 1 + more], "little") << 4
    return total - 1 - more
'''
BAR_SIZE = '''
def bar_size(read_back):
    bits = read_back & (~3 if read_back & 1 else ~15)
    return bits & -bits
'''
PRESERVE = '''
def preserve(start, end):
    out = []
    while start < end:
        order = 0
        while start % (2 << order) == 0 and start + (2 << order) <= end:
            order += 1
        out.append((start, order))
        start += 1 << order
    return out
'''
SPREAD = '''
def spread(parts):
    total = sum(ms for ms, _ in parts)
    factor = 2.718281828459045 ** (1.2816 * sum((ms * share) ** 2 for ms, share in parts) ** 0.5 / total)
    return total / factor, total * factor
'''
SOLUTIONS = {
    "tidy": TIDY, "reserve": RESERVE, "node_of": NODE_OF, "split": SPLIT, "log_stamp": LOG_STAMP,
    "content_bytes": CONTENT, "bar_size": BAR_SIZE, "preserve": PRESERVE, "spread": SPREAD,
}  # fmt: skip
# The same with one mistake: what is changed, and into what.
MISTAKES = {
    "tidy": ("max(kinds)", "min(kinds)"), "reserve": ("low <= out", "low < out"), "node_of": ("< end", "<= end - 4096"),
    "split": ("order = 10", "order = 9"),
    "log_stamp": ("* 1000 // khz", "// khz * 1000"), "content_bytes": ("total - 1 - more", "total - 1"),
    "bar_size": ("~3", "~15"), "preserve": ("<= end", "< end"),
    "spread": (") ** 0.5", ")"),
}  # fmt: skip
