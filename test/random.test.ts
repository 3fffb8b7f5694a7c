import { readFileSync } from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { exponential, logarithm, RandomGenerator, zigguratTables } from '../src/random.js';

interface Normals {
  first: number[];
  'sum_of_bits_mod_2^32': number;
  count: number;
  beyond_r: number;
  tail?: { index: number; bits: number }[];
}

/** Float32 bits of NumPy's default_rng(seed).normal(size=count), by seed. */
const reference: Record<string, Normals> = JSON.parse(
  readFileSync(new URL('./fixtures/numpy-normals.json', import.meta.url), 'utf8'),
);

/** Where the ziggurat's tail begins. */
const R = 3.654152885361009;

function normalBits(seed: number | bigint, count: number): Uint32Array {
  const normals = new Float32Array(count);
  new RandomGenerator(seed).normals(normals);
  return new Uint32Array(normals.buffer);
}

/** FNV-1a over 32-bit words: one number that tells whether long results equal NumPy's. */
function fingerprint(words: Uint32Array): number {
  return words.reduce((hash, word) => Math.imul(hash ^ word, 0x01000193), 0x811c9dc5) >>> 0;
}

function nextWord(random: RandomGenerator): bigint {
  const [high, low] = random.nextUint64Parts();
  return (BigInt(high) << 32n) | BigInt(low);
}

describe('seeding and PCG64', () => {
  it.each<[bigint, bigint[]]>([
    // numpy.random.PCG64(seed).random_raw(3), NumPy 2.4.6
    [0n, [0xa30febcfd9c2825fn, 0x4510bdf882d9d721n, 0x0a7d3da94ecde8b8n]],
    [1n, [0x8306bdf37922e4ffn, 0xf35196bbc152a866n, 0x24e7a4f608ec18cdn]],
    [42n, [0xc621fbcd16d92688n, 0x705a5661a791ffc1n, 0xdbcd12c26eda1624n]],
    [4294967295n, [0x407f5fa930d8fd9fn, 0x3814b22eb9684802n, 0x498b7dcee8d8dc95n]],
    [4294967296n, [0xe3c5ebe285ac1625n, 0x8ea09968fe31dbccn, 0xcd084ff84d8de9ben]],
    [9007199254740991n, [0xc948dddc0fcf0895n, 0x9b36b064d3d8a891n, 0x89a0c668d784663bn]],
    [18446744073709551615n, [0xae163a7a8c47568fn, 0xd86659f5f3382359n, 0x01e52b195bc2d24an]],
    [18446744073709551616n, [0x730150b2e3c8c450n, 0x641b4e08066ad287n, 0x93b439efc465df22n]],
    [18446744073709551617n, [0xb138f4d9f9f0ffabn, 0x392d1077c55b4250n, 0xcf4346e3c2931554n]],
    [
      340282366920938463463374607431768211455n,
      [0x3e2f9d58520f46e1n, 0xb32aa6d93dfe53cfn, 0x652a1786e8126235n],
    ],
    [
      340282366920938463463374607431768211456n,
      [0xad5cc5f1a97c42b5n, 0x3e34612a5a50a3c0n, 0x9c9c8d5a14388100n],
    ],
    [
      340282366920938463463374607431768223801n,
      [0x60880394c50ed16cn, 0xb0862fc417c3399dn, 0xbe543438d9e1d9a3n],
    ],
    [
      1606938044258990275541962092341162602522202993782792835301375n,
      [0x47da478351b0d5aan, 0x3ab21013bd23147an, 0x39cea88a7189b789n],
    ],
    [
      9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999n,
      [0x6d6300a0d36e0223n, 0x398f626aa36420e7n, 0x79af5e7b336749c5n],
    ],
  ])('gives the raw words of NumPy for the seed %i', (seed, words) => {
    const random = new RandomGenerator(seed);
    expect(words.map(() => nextWord(random))).toEqual(words);
  });

  it('stays equal to NumPy over 100,000 raw words', () => {
    const random = new RandomGenerator(12345);
    let sum = 0n;
    let xor = 0n;
    for (let i = 0; i < 100_000; i++) {
      const word = nextWord(random);
      sum += word;
      xor ^= word;
    }
    expect([BigInt.asUintN(64, sum), xor]).toEqual([0x8978a997032ee7efn, 0x8d00d373d70a0421n]);
  });

  it('takes a seed as a number or as a bigint alike', () => {
    for (const seed of [0, 7, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
      expect(nextWord(new RandomGenerator(seed))).toBe(nextWord(new RandomGenerator(BigInt(seed))));
    }
  });

  it('takes notice of every bit of a long seed', () => {
    const seed = 3n ** 200n;
    const first = new Set<bigint>();
    for (let bit = 0n; bit < 320n; bit += 8n) first.add(nextWord(new RandomGenerator(seed ^ (1n << bit))));
    expect(first.size).toBe(40);
    expect(normalBits(seed, 8)).toEqual(normalBits(seed, 8));
  });

  it.each([-1, 0.5, NaN, Infinity, 2 ** 53, -1n])('refuses the seed %s', (seed) => {
    expect(() => new RandomGenerator(seed)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        code: 'ERR_ARGUMENT_RANGE',
        message: `seed: expected a safe integer from 0 or a bigint from 0, got ${seed}`,
      }),
    );
  });

  it.each([undefined, null, '0', [0]])('refuses the seed %j for its kind', (seed) => {
    expect(() => new RandomGenerator(seed as never)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' }),
    );
  });
});

describe('normals', () => {
  it.each(Object.keys(reference))('equal those of NumPy in every float32 bit for the seed %s', (key) => {
    const entry = reference[key];
    for (const seed of [Number(key), BigInt(key)]) {
      const bits = normalBits(seed, entry.count);
      expect([...bits.subarray(0, entry.first.length)]).toEqual(entry.first);
      expect(bits.reduce((sum, word) => (sum + word) >>> 0, 0)).toBe(entry['sum_of_bits_mod_2^32']);
      const beyond = new Float32Array(bits.buffer).filter((x) => Math.abs(x) > R);
      expect(beyond.length).toBe(entry.beyond_r);
    }
  });

  it('equal those of NumPy in the tail, and nothing else lies there', () => {
    const tails = Object.entries(reference).filter(([, entry]) => entry.tail);
    expect(tails.length).toBeGreaterThan(0);
    for (const [key, { tail = [] }] of tails) {
      const bits = normalBits(BigInt(key), tail[tail.length - 1].index + 1);
      const normals = new Float32Array(bits.buffer);
      const found = [...bits.keys()].filter((i) => Math.abs(normals[i]) > R);
      expect(found.map((index) => ({ index, bits: bits[index] }))).toEqual(tail);
    }
  });

  it('equal 100,000 of NumPy for a seed beyond 64 bits', () => {
    expect(fingerprint(normalBits(2n ** 64n + 1n, 100_000))).toBe(3612966059);
  });

  it('equal those of NumPy as float64, up to where the tail begins', () => {
    const random = new RandomGenerator(2n ** 64n + 1n);
    const normals = Float64Array.from({ length: 100_000 }, () => random.normal());
    const body = normals.filter((x) => Math.abs(x) < 3.654);
    expect(fingerprint(new Uint32Array(body.buffer))).toBe(1983681754);
    expect(new RandomGenerator(0).normal()).toBe(0.1257302210933933);
  });

  it('agree with the ziggurat written out over raw words, through each of its branches', () => {
    const random = new RandomGenerator(0);
    const words = new RandomGenerator(0);
    const { limits, widths, heights } = zigguratTables();
    const uniform = () => Number(nextWord(words) >> 11n) / 2 ** 53;
    const taken = { inside: 0, wedge: 0, refused: 0, tail: 0, tailAgain: 0 };
    const draw = (): number => {
      for (;;) {
        const word = nextWord(words);
        const strip = Number(word & 0xffn);
        const sign = (word >> 8n) & 1n ? -1 : 1;
        const magnitude = (word >> 9n) & 0xfffffffffffffn;
        const x = Number(magnitude) * widths[strip];
        if (magnitude < BigInt(limits[strip])) {
          taken.inside++;
          return sign * x;
        }
        if (strip === 0) {
          for (;;) {
            const beyond = -Math.log1p(-uniform()) / R;
            const y = -Math.log1p(-uniform());
            if (2 * y > beyond * beyond) {
              taken.tail++;
              return (magnitude >> 8n) & 1n ? -(R + beyond) : R + beyond;
            }
            taken.tailAgain++;
          }
        }
        if (heights[strip] + uniform() * (heights[strip - 1] - heights[strip]) < Math.exp((-x * x) / 2)) {
          taken.wedge++;
          return sign * x;
        }
        taken.refused++;
      }
    };
    for (let i = 0; i < 200_000; i++) {
      const expected = draw();
      const got = random.normal();
      // Engines differ in Math.log1p, not in which branch is taken.
      if (Math.abs(got - expected) > 1e-15 * Math.abs(expected))
        expect.fail(`normal ${i}: ${expected}, got ${got}`);
    }
    expect(taken).toEqual({ inside: 198_378, wedge: 1564, refused: 1327, tail: 58, tailAgain: 5 });
  });

  it('are the same drawn at once and in two parts, at every cut', () => {
    const whole = normalBits(42, 300);
    for (let cut = 0; cut <= whole.length; cut++) {
      const random = new RandomGenerator(42);
      const parts = new Float32Array(whole.length);
      random.normals(parts.subarray(0, cut));
      random.normals(parts.subarray(cut));
      expect(new Uint32Array(parts.buffer)).toEqual(whole);
    }
  });

  it('are the same one by one, rounded to float32', () => {
    const random = new RandomGenerator(1);
    const single = Float32Array.from({ length: 1000 }, () => random.normal());
    expect(new Uint32Array(single.buffer)).toEqual(normalBits(1, 1000));
  });

  it('go nowhere but into a Float32Array', () => {
    expect(() => new RandomGenerator(0).normals([0, 0] as never)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' }),
    );
  });
});

describe('uniforms and integers', () => {
  it('give the uniforms of NumPy', () => {
    const random = new RandomGenerator(3);
    expect([random.uniform(), random.uniform(), random.uniform(), random.uniform()]).toEqual([
      0.08564916714362436, 0.2368105065960997, 0.8012744652063969, 0.5821620360643678,
    ]);
  });

  it('give the integers of NumPy for bounds from 1 to 2^32', () => {
    const random = new RandomGenerator(7);
    const bounds = [10, 1, 1000, 2 ** 32, 2 ** 31 + 1, 2 ** 32 - 1, 3];
    const integers = Uint32Array.from({ length: 7000 }, (_, i) => random.integer(bounds[i % 7]));
    expect([...integers.subarray(0, 7)]).toEqual([9, 0, 625, 2938530453, 1926751966, 2483747169, 2]);
    expect(fingerprint(integers)).toBe(225304352);
  });

  it('keep the unused half of a word for the next integer while other kinds are drawn, as NumPy does', () => {
    const random = new RandomGenerator(5);
    const integers = [10, 1, 1000, 2 ** 32, 2 ** 31 + 1, 2 ** 32 - 1, 3].map((bound) =>
      random.integer(bound),
    );
    expect(integers).toEqual([6, 0, 805, 97294837, 1353417275, 1227507579, 2]);
    expect([random.normal(), random.uniform(), random.integer(100)]).toEqual([
      0.10970639932180819, 0.40847320541999865, 5,
    ]);
  });

  it('give each integer about equally often', () => {
    const random = new RandomGenerator(11);
    const counts = new Uint32Array(7);
    for (let i = 0; i < 70_000; i++) counts[random.integer(7)]++;
    // Five standard deviations of a count: 5 · √(70,000 · 1/7 · 6/7) = 463.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(463);
  });

  it.each([0, -1, 1.5, NaN, 2 ** 32 + 1])('refuse the bound %s', (bound) => {
    expect(() => new RandomGenerator(0).integer(bound)).toThrow(
      expect.objectContaining({ name: 'RangeError', code: 'ERR_ARGUMENT_RANGE' }),
    );
  });

  it('refuse a bound that is not a number', () => {
    expect(() => new RandomGenerator(0).integer('7' as never)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_ARGUMENT_TYPE' }),
    );
  });
});

describe('the tables of the ziggurat', () => {
  it('equal those of NumPy in every bit', async () => {
    vi.resetModules(); // they are computed anew
    const { limits, widths, heights } = (await import('../src/random.js')).zigguratTables();
    // Fingerprints of ki_double (as float64), wi_double and fi_double of NumPy 2.4.6.
    const prints = [limits, widths, heights].map((table) => fingerprint(new Uint32Array(table.buffer)));
    expect(prints).toEqual([3424487257, 2606173571, 2188037831]);
    expect([limits[0], limits[1], limits[2], limits[255]]).toEqual([
      4208095142473578, 0, 3387314423973544, 4251099761679434,
    ]);
    expect([widths[0], widths[255]]).toEqual([8.683627060801306e-16, 8.113849337656484e-16]);
    expect([heights[0], heights[38], heights[255]]).toEqual([1, 0.6773880362187735, 0.001260285930498598]);
  });

  it('are computed once', () => {
    expect(zigguratTables()).toBe(zigguratTables());
  });
});

// The right-hand sides are rounded from 50 digits. The last exponential lies 0.002 units beside a tie.
describe('elementary functions', () => {
  it('round exp to the nearest number', () => {
    const known = [
      [0, 1],
      [-8.673617379884035e-19, 1],
      [-1e-9, 0.999999999],
      [-0.001, 0.999000499833375],
      [-0.1, 0.9048374180359595],
      [-0.34657359027997264, Math.SQRT1_2],
      [-Math.LN2, 0.5],
      [-1, 0.36787944117144233],
      [-2, 0.1353352832366127],
      [-4.5, 0.011108996538242306],
      [-6.676416640039494, 0.0012602859490961316],
      [1, Math.E],
      [0.5, 1.6487212707001282],
      [10, 22026.465794806718],
      [-30, 9.357622968840175e-14],
      [-700, 9.85967654375977e-305],
      [700, 1.0142320547350045e304],
      [-0.9002404355530882, 0.4064719176903933],
      [-5.677806037479459, 0.0034210558842266143],
      [-5.117289947143314, 0.005992240197872643],
      [-1.7089624724541255, 0.18105354324044828],
      [-3.3194150835160046, 0.03617398432692368],
      [-3.0115901340845457, 0.04921336066661835],
      [-4.365672917242512, 0.012706102142614027],
      [-5.284446452607939, 0.0050698378070639],
      [-0.6288592313873738, 0.5331997116936178],
      [-0.1899280926974423, 0.8270186004820232],
      [-5.599626196263127, 0.0036992462501406237],
      [-2.8995393549638577, 0.0550485720682897],
      [-5.107276552468211, 0.006052544284391005],
      [-0.01411055745244164, 0.9859885298567977],
      [-2.9840942001671698, 0.05058530296241984],
      [-0.38951100007894385, 0.6773880362187734],
    ];
    expect(known.map(([x]) => [x, exponential(x)])).toEqual(known);
  });

  it('round log to the nearest number', () => {
    const known = [
      [1, 0],
      [0.9999999999999999, -1.1102230246251565e-16],
      [0.9999999990686774, -9.313225750491594e-10],
      [0.999, -0.0010005003335835344],
      [0.9, -0.10536051565782628],
      [0.75, -0.2876820724517809],
      [Math.SQRT1_2, -0.3465735902799726],
      [0.7071067811865475, -0.34657359027997275],
      [0.5, -Math.LN2],
      [0.001, -6.907755278982137],
      [1.1102230246251565e-16, -36.7368005696771],
      [3.3306690738754696e-16, -35.63818828100899],
      [Math.SQRT2, 0.3465735902799727],
      [2, Math.LN2],
      [10, Math.LN10],
      [1e300, 690.7755278982137],
      [1.0000000000000002, 2.2204460492503128e-16],
      [0.19817365572927792, -1.6186115835326975],
      [0.40884674608124694, -0.8944148971162362],
      [0.897772815098431, -0.10783823255538955],
      [0.6825700276243872, -0.38189015260865516],
      [0.9776782843637517, -0.02257461565739318],
      [0.3504543183108034, -1.0485249139236672],
      [0.9907948773324586, -0.00924775161398959],
      [0.11876586000959466, -2.1306012870099247],
      [0.31351643504894444, -1.1599034958847256],
      [0.0309595028880133, -3.4750752869782366],
      [0.27414730924769637, -1.2940896920710123],
      [0.4723706106945108, -0.7499914093492811],
      [0.23629893222252496, -1.4426576135361542],
      [0.060833245331007646, -2.79961884124232],
    ];
    expect(known.map(([x]) => [x, logarithm(x)])).toEqual(known);
  });
});
