"""How much of what attention reads of keys and values, or of queries, comes from HBM: a model of the L2 cache.

Blocks start in the order of the grid (heads of a group, work items, then heads of keys and values); those that are
resident take one tile a step, all in step; the cache forgets what was not used for the longest time (LRU).
"""

from __future__ import annotations

from collections import OrderedDict


def work_list(group: int, rows: int, levels: int) -> list[tuple[int, int]]:
    """(row, level) of every work item: groups of rows one after the other, in a group the longest work first. One group
    of all rows is falling level over all rows."""
    return [
        (row, level)
        for first in range(0, rows, group)
        for level in range(levels - 1, -1, -1)
        for row in range(first, min(rows, first + group))
    ]


def share_from_hbm(
    group: int,
    rows: int,
    tiles: list[int],
    tile_bytes: int,
    resident: int,
    cache: int,
    sharers: int = 1,
    walked: int = 1,
) -> float:
    """The share of tile reads that miss. tiles[level]: how many the work item of that level reads, from the row's first
    on; a tile of the other side is `tile_bytes`. Two heads are enough to see how one follows the other.

    Query heads that share keys and values: where a block owns queries, `sharers` blocks of a work item, one for each
    head of the group, start next to each other and read the same tiles; where it owns keys it goes through the tiles of
    `walked` heads, one head after the other."""
    items = [
        (head * walked, row, tiles[level])
        for head in range(2)
        for row, level in work_list(group, rows, len(tiles))
        for _ in range(sharers)
    ]
    lines, most = OrderedDict(), max(1, cache // tile_bytes)
    running: list[tuple[int, int, int, int]] = []  # first head, row, tiles read, tiles of a head
    begun = reads = misses = 0
    while begun < len(items) or running:
        while len(running) < resident and begun < len(items):
            head, row, count = items[begun]
            running.append((head, row, 0, count))
            begun += 1
        still = []
        for head, row, done, count in running:
            key = (head + done // count, row, done % count)
            reads += 1
            if key in lines:
                lines.move_to_end(key)
            else:
                misses += 1
                lines[key] = None
                if len(lines) > most:
                    lines.popitem(last=False)
            if done + 1 < walked * count:
                still.append((head, row, done + 1, count))
        running = still
    return misses / reads
