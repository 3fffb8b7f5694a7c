// Buckets of hash tables: which rows share a key. Two structures hold the rows of every table:
//
//     sorted   the first `count` rows, ids grouped by slot: slot s has ids[offsets[s]] … ids[offsets[s + 1] - 1], ascending
//     tail     the rows added since, a chain for each slot: heads[slot] → links[row] → … → 0, descending
//
// A slot is a key where there are as many slots as keys; then shift is 0. Where keys are many more than rows, a slot is
// the top bits of a multiple of the key (Fibonacci hashing: Knuth, TAOCP vol. 3, 6.4), several keys may share it, and
// each row's own key is compared.
//
// A mark per row says whether this query has seen it: marks below `epoch` are from earlier queries, so that nothing is
// cleared in between. A row marked 255 is never seen.

// @ts-ignore: decorator
@inline
function slotOf(key: u32, shift: u32): usize {
  return shift ? <usize>((key * 0x9e3779b1) >> shift) : <usize>key;
}

/**
 * Groups the rows of each table by slot (counting sort).
 *
 * keys     u32 × tables × keyStride     read, `count` of each table
 * offsets  u32 × tables × (slots + 2)   written; offsets[slots] is count, the word behind it is spare
 * ids      u32 × tables × count         written
 */
export function sortKeys(
  keys: usize,
  keyStride: u32,
  count: u32,
  tables: u32,
  shift: u32,
  slots: u32,
  offsets: usize,
  ids: usize,
): void {
  const offsetBytes = (<usize>slots + 2) << 2;
  const countBytes = (<usize>count) << 2;
  for (let t: u32 = 0; t < tables; t++) {
    // Sizes two places ahead become starts one place ahead, and filling a slot moves its start to the next one's.
    memory.fill(offsets, 0, offsetBytes);
    for (let i: usize = 0; i < countBytes; i += 4) {
      const size = offsets + (slotOf(load<u32>(keys + i), shift) << 2);
      store<u32>(size, load<u32>(size, 8) + 1, 8);
    }
    let start: u32 = 0;
    for (let o = offsets + 8, end = offsets + offsetBytes; o < end; o += 4) {
      start += load<u32>(o);
      store<u32>(o, start);
    }
    for (let i: usize = 0; i < countBytes; i += 4) {
      const next = offsets + (slotOf(load<u32>(keys + i), shift) << 2);
      const at = load<u32>(next, 4);
      store<u32>(next, at + 1, 4);
      store<u32>(ids + ((<usize>at) << 2), <u32>(i >> 2));
    }
    keys += (<usize>keyStride) << 2;
    offsets += offsetBytes;
    ids += countBytes;
  }
}

/**
 * Hangs rows into the chains of each table.
 *
 * keys   u32 × tables × keyStride    read at rows first … first + count - 1
 * heads  u32 × tables × slots        read and written: 1 + the chain's first row, counted from tailFirst, or 0
 * links  u32 × tables × linkStride   written at those rows: the same of the row behind
 */
export function chainKeys(
  keys: usize,
  keyStride: u32,
  first: u32,
  count: u32,
  tables: u32,
  shift: u32,
  slots: u32,
  heads: usize,
  links: usize,
  linkStride: u32,
  tailFirst: u32,
): void {
  for (let t: u32 = 0; t < tables; t++) {
    for (let row = first; row < first + count; row++) {
      const head = heads + (slotOf(load<u32>(keys + ((<usize>row) << 2)), shift) << 2);
      const at = row - tailFirst;
      store<u32>(links + ((<usize>at) << 2), load<u32>(head));
      store<u32>(head, at + 1);
    }
    keys += (<usize>keyStride) << 2;
    heads += (<usize>slots) << 2;
    links += (<usize>linkStride) << 2;
  }
}

// Lists a row unless this query has seen it. No branch: whether it was seen cannot be predicted.
// @ts-ignore: decorator
@inline
function take(id: u32, marks: usize, epoch: u32, out: usize, found: u32): u32 {
  const mark = marks + <usize>id;
  const seen = <u32>load<u8>(mark);
  store<u8>(mark, max(seen, epoch));
  store<u32>(out + ((<usize>found) << 2), id);
  return found + <u32>(seen < epoch);
}

// The caps of a query, three words: rows of a bucket that are looked at, rows that are listed in all, and whether a row may
// have been left out for either. Against buckets that someone has filled: a query's work is bounded whatever the rows are.
// @ts-ignore: decorator
@inline
function rowsOfBucket(caps: usize): u32 {
  return caps ? load<u32>(caps) : 0xffffffff;
}

// @ts-ignore: decorator
@inline
function rowsInAll(caps: usize): u32 {
  return caps ? load<u32>(caps, 4) : 0xffffffff;
}

// @ts-ignore: decorator
@inline
function noteCapped(caps: usize): void {
  store<u32>(caps, 1, 8);
}

// @ts-ignore: decorator
@inline
function isNew(id: u32, marks: usize, epoch: u32): bool {
  return <u32>load<u8>(marks + <usize>id) < epoch;
}

/**
 * Lists the sorted rows of the wanted buckets, each once, behind the `found` first; returns how many are listed now.
 *
 * wanted   u32 × tables × wantedStride   read: `probes` keys of each table
 * keys     u32 × tables × keyStride      read where shift is not 0: the rows' own keys
 * offsets  as sortKeys wrote it          read
 * ids      as sortKeys wrote it          read; idStride from table to table
 * marks    u8 × rows                     read and written
 * out      u32 × (rows + 1)              written from `found` on; the word behind the last may be overwritten
 * caps     u32 × 3                       read; the last is set to 1 where a row may have been left out. 0: none
 *
 * 1 <= epoch <= 254.
 */
export function gatherSorted(
  wanted: usize,
  wantedStride: u32,
  probes: u32,
  tables: u32,
  keys: usize,
  keyStride: u32,
  shift: u32,
  slots: u32,
  offsets: usize,
  ids: usize,
  idStride: u32,
  marks: usize,
  epoch: u32,
  out: usize,
  found: u32,
  caps: usize,
): u32 {
  const most = rowsOfBucket(caps);
  const room = rowsInAll(caps);
  for (let t: u32 = 0; t < tables; t++) {
    for (let w = wanted, last = wanted + ((<usize>probes) << 2); w < last; w += 4) {
      const key = load<u32>(w);
      const offset = offsets + (slotOf(key, shift) << 2);
      let at = ids + ((<usize>load<u32>(offset)) << 2);
      let end = ids + ((<usize>load<u32>(offset, 4)) << 2);
      if (<u32>((end - at) >> 2) > most) {
        end = at + ((<usize>most) << 2);
        noteCapped(caps);
      }
      // Where the list might become full, each row is looked at before it is taken.
      if (<u32>((end - at) >> 2) > room - found) {
        for (; at < end; at += 4) {
          const id = load<u32>(at);
          if (!isNew(id, marks, epoch)) continue;
          if (shift && load<u32>(keys + ((<usize>id) << 2)) != key) continue;
          if (found == room) {
            noteCapped(caps);
            return found;
          }
          found = take(id, marks, epoch, out, found);
        }
      } else if (shift) {
        for (; at < end; at += 4) {
          const id = load<u32>(at);
          if (load<u32>(keys + ((<usize>id) << 2)) == key) found = take(id, marks, epoch, out, found);
        }
      } else {
        for (; at < end; at += 4) found = take(load<u32>(at), marks, epoch, out, found);
      }
    }
    wanted += (<usize>wantedStride) << 2;
    keys += (<usize>keyStride) << 2;
    offsets += (<usize>slots + 2) << 2;
    ids += (<usize>idStride) << 2;
  }
  return found;
}

/**
 * The same for the rows of the tail.
 *
 * heads, links  as chainKeys wrote them   read
 * other regions as in gatherSorted
 */
export function gatherChained(
  wanted: usize,
  wantedStride: u32,
  probes: u32,
  tables: u32,
  keys: usize,
  keyStride: u32,
  shift: u32,
  slots: u32,
  heads: usize,
  links: usize,
  linkStride: u32,
  tailFirst: u32,
  marks: usize,
  epoch: u32,
  out: usize,
  found: u32,
  caps: usize,
): u32 {
  const most = rowsOfBucket(caps);
  const room = rowsInAll(caps);
  for (let t: u32 = 0; t < tables; t++) {
    for (let w = wanted, last = wanted + ((<usize>probes) << 2); w < last; w += 4) {
      const key = load<u32>(w);
      let left = most;
      let link = load<u32>(heads + (slotOf(key, shift) << 2));
      while (link) {
        if (!left--) {
          noteCapped(caps);
          break;
        }
        const id = tailFirst + link - 1;
        if (!shift || load<u32>(keys + ((<usize>id) << 2)) == key) {
          if (found == room && isNew(id, marks, epoch)) {
            noteCapped(caps);
            return found;
          }
          found = take(id, marks, epoch, out, found);
        }
        link = load<u32>(links + ((<usize>(link - 1)) << 2));
      }
    }
    wanted += (<usize>wantedStride) << 2;
    keys += (<usize>keyStride) << 2;
    heads += (<usize>slots) << 2;
    links += (<usize>linkStride) << 2;
  }
  return found;
}
