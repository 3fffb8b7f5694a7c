// Translates the compiled kernels to plain JavaScript, for orthant/js: the text form of a module in, a module in
// JavaScript out. The same instructions in the same order on the same memory, so the same bits come out, and no kernel
// needs a twin written by hand. A v128 becomes four variables, floats or words, whichever its uses want; an i64 two words.
//
// The stack machine becomes expressions: the stack holds texts of expressions without effects. One that reads a variable
// or the memory is put into a variable of its own before that is written; so is everything at the border of a block.

/**
 * What Binaryen makes shorter before the translation. Not its usual passes: those let values of several kinds share a
 * variable (coalesce-locals), which costs WebAssembly nothing, and a JavaScript engine a conversion at every use.
 */
const PASSES = [
  'inlining',
  'precompute',
  'dce',
  'vacuum',
  'remove-unused-brs',
  'remove-unused-names',
  'ssa-nomerge',
  'optimize-instructions',
  'precompute-propagate',
  'code-pushing',
  'simplify-locals-notee-nostructure',
  'vacuum',
  'remove-unused-brs',
  'remove-unused-names',
  'local-cse',
  'simplify-locals-notee-nostructure',
  'vacuum',
  'merge-blocks',
  'precompute-propagate',
  'optimize-instructions',
  'rse',
  'vacuum',
  'remove-unused-brs',
  'merge-blocks',
  'remove-unused-names',
  'simplify-locals-notee-nostructure',
  'vacuum',
  'reorder-locals',
  'duplicate-function-elimination',
  'remove-unused-module-elements',
];

/** Options of asc for what is to be translated; scalar.ts tells why it has no relaxed instructions. */
export const OPTIONS = [
  ...['--optimizeLevel', '0', '--shrinkLevel', '0', '--runPasses', PASSES.join()],
  ...['--disable', 'relaxed-simd'],
];

const NAME = /[A-Za-z_$][\w$]*/g;
const simple = (text) => /^(-?[\w$.]+)$/.test(text);
const fround = (text) => `r(${text})`;
const lanes4 = (make) => [0, 1, 2, 3].map(make);

/** A number of the text form as a number of JavaScript. */
function number(text, bits) {
  const plain = text.replaceAll('_', '');
  if (plain === 'inf') return 'Infinity';
  if (plain === '-inf') return '-Infinity';
  if (plain.includes('nan')) return 'NaN';
  if (/^-?0x.*[.p]/i.test(plain)) {
    const [, sign, whole, part = '', power = '0'] = /^(-?)0x([\da-f]*)\.?([\da-f]*)(?:p([+-]?\d+))?$/i.exec(
      plain,
    );
    const value = Number.parseInt(whole + part, 16) * 2 ** (Number(power) - 4 * part.length);
    return `${sign}${value}`;
  }
  const value = plain.startsWith('-') ? -Number(plain.slice(1)) : Number(plain);
  if (bits === 32) return `${value | 0}`;
  return Object.is(value, -0) ? '-0' : `${value}`;
}

const scratch = new DataView(new ArrayBuffer(8));
function bitsToFloat(word) {
  scratch.setInt32(0, word);
  const value = scratch.getFloat32(0);
  return Object.is(value, -0) ? '-0' : `${value}`;
}
function floatToBits(value) {
  scratch.setFloat32(0, value);
  return scratch.getInt32(0);
}

/** Functions that a translated kernel may call, by name: instructions for which JavaScript has no expression. */
const RUNTIME = {
  p: `(x)=>{x-=x>>>1&0x55555555;x=(x&0x33333333)+(x>>>2&0x33333333);return Math.imul(x+(x>>>4)&0x0f0f0f0f,0x01010101)>>>24}`,
  z: `(x)=>x?31-Math.clz32(x&-x):32`,
  // float ⇄ bits
  fb: `(x)=>(RF[0]=x,RI[0])`,
  bf: `(x)=>(RI[0]=x,RF[0])`,
  // to the nearest integer, halves to the even one; zeros keep their sign
  ne: `(x)=>{const y=Math.floor(x),d=x-y,n=d<.5?y:d>.5?y+1:y%2===0?y:y+1;return n===0&&(x<0||1/x<0)?-0:n}`,
  // to an integer, unsigned and signed, with saturation
  tu: `(x)=>x>=4294967295?-1:x>0?x|0:0`,
  ts: `(x)=>x>=2147483647?2147483647:x<=-2147483648?-2147483648:x|0`,
  // bytes: equal, swizzle, bits of the signs, narrowing
  eq: `(a,b)=>{a^=b;return(a&255?0:255)|(a&65280?0:65280)|(a&16711680?0:16711680)|(a>>>24?0:-16777216)}`,
  sw: `(a,b,c,d,i)=>{RI[0]=a;RI[1]=b;RI[2]=c;RI[3]=d;return(i&240?0:R8[i&15])|(i&61440?0:R8[i>>>8&15]<<8)|(i&15728640?0:R8[i>>>16&15]<<16)|(i>>>28?0:R8[i>>>24&15]<<24)}`,
  ss: `(x)=>x<-32768?-32768:x>32767?32767:x`,
  su: `(x)=>x<0?0:x>65535?65535:x`,
  bs: `(x)=>x<-128?-128:x>127?127:x`,
  bu: `(x)=>x<0?0:x>255?255:x`,
};
/** One function of the module. Goes through the instructions twice: first to learn which kind each v128 variable is. */
class Translator {
  constructor(module, { name, params, locals, result, body }) {
    Object.assign(this, { module, name, params, locals, result, body });
    this.types = new Map([...params, ...locals]);
    // Kinds of the places that hold a v128 (variables, temporaries, results of blocks), from the second time on.
    this.kinds = null;
    // place → how often it is written as words, as floats, or from memory, and how often read as either
    this.votes = new Map();
    this.copies = []; // [from, to]
  }

  votesOf(place) {
    if (!this.votes.has(place)) this.votes.set(place, { i: 0, f: 0, raw: 0, useI: 0, useF: 0 });
    return this.votes.get(place);
  }

  /** Notes that a place gets a value. */
  written(place, { k, places }) {
    if (k !== '?') this.votesOf(place)[k]++;
    else if (places.length === 0) this.votesOf(place).raw++;
    else this.copies.push(...places.map((from) => [from, place]));
  }

  translate() {
    this.pass();
    // Places that are copied to each other are of one kind.
    const group = new Map([...this.votes.keys(), ...this.copies.flat()].map((place) => [place, [place]]));
    for (const [from, to] of this.copies) {
      const [a, b] = [group.get(from), group.get(to)];
      if (a === b) continue;
      a.push(...b);
      for (const place of b) group.set(place, a);
    }
    this.kinds = new Map();
    for (const places of new Set(group.values())) {
      const sum = { i: 0, f: 0, raw: 0, useI: 0, useF: 0 };
      for (const place of places) {
        for (const [what, count] of Object.entries(this.votes.get(place) ?? {})) sum[what] += count;
      }
      // Words in a float variable could be NaNs, whose bits an engine may change; floats in a word variable are only slow.
      const areWords = sum.i > 0 || (sum.raw > 0 && sum.useI > 0) || sum.f + sum.useF === 0;
      for (const place of places) this.kinds.set(place, areWords ? 'i' : 'f');
    }
    return this.pass();
  }

  pass() {
    this.out = [];
    this.stack = [];
    this.temps = [];
    this.views = new Set();
    this.labels = [];
    this.used = new Set();
    this.usedLabels = new Set();
    this.body.forEach(([op, ...args], at) => {
      this.at0 = at;
      this.instruction(op, args);
    });
    if (this.result && this.stack.length > 0 && this.reachable()) {
      const value = this.stack.pop();
      if (value.t === 'v128') this.returnVector(value);
      else this.out.push(`return ${this.scalar(value)};`);
    }
    const parameters = this.params.flatMap(([local, type]) => this.names(local, type));
    const variables = this.locals
      .flatMap(([local, type]) => this.names(local, type))
      .map((name) => `${name}=0`);
    const declared = [...variables, ...this.temps];
    const views = [...this.views].map((view) => `${view}=$${view}`);
    return [
      `function ${this.module.nameOf(this.name)}(${parameters}){`,
      views.length > 0 ? `const ${views};` : '',
      declared.length > 0 ? `let ${declared};` : '',
      ...this.out,
      '}',
    ].join('');
  }

  reachable() {
    return !/^(return|break|continue|throw)\b/.test(this.out.at(-1) ?? '');
  }

  names(local, type) {
    if (type === 'v128') return lanes4((i) => `v${local.slice(1)}_${i}`);
    if (type === 'i64') return [`l${local.slice(1)}`, `h${local.slice(1)}`];
    return [`l${local.slice(1)}`];
  }

  // ---- values -------------------------------------------------------------------------------------------------------
  // { t: 'i32' | 'f32' | 'f64' | 'bool', e } · { t: 'i64', e: [low, high] } ·
  // { t: 'v128', k: 'i' | 'f' | '?', i?: lanes, f?: lanes, places?: where a '?' may come from }

  push(t, e) {
    this.stack.push({ t, e });
  }

  vector(k, lanes) {
    this.stack.push({ t: 'v128', k, [k]: lanes });
  }

  texts(value) {
    if (value.t === 'v128') return value.k === '?' ? (value.i ?? value.f) : value[value.k];
    return Array.isArray(value.e) ? value.e : [value.e];
  }

  temp(expression) {
    const name = `t${this.temps.length}`;
    this.temps.push(name);
    this.out.push(`${name}=${expression};`);
    return name;
  }

  named(expression) {
    return simple(expression) ? expression : this.temp(expression);
  }

  pop() {
    if (this.stack.length === 0) return { t: 'i32', e: '0' }; // only in code that is never reached
    return this.stack.pop();
  }

  scalar(value) {
    if (value.t === 'bool') return `(${value.e}?1:0)`;
    return value.e;
  }

  i32() {
    return this.scalar(this.pop());
  }

  condition() {
    const value = this.pop();
    return value.e;
  }

  unsigned(expression) {
    if (/^\d+$/.test(expression)) return expression;
    if (/^-\d+$/.test(expression)) return `${Number(expression) >>> 0}`;
    return `(${expression}>>>0)`;
  }

  /** Lanes of a vector as words or as floats. */
  lanes(kind, value = this.pop()) {
    if (!this.kinds)
      for (const place of value.places ?? []) this.votesOf(place)[kind === 'i' ? 'useI' : 'useF']++;
    if (value[kind]) {
      if (value.load) this.views.add(kind === 'i' ? 'I' : 'F');
      return value[kind];
    }
    const other = kind === 'i' ? 'f' : 'i';
    this.used.add(kind === 'i' ? 'fb' : 'bf');
    return value[other].map((lane) => `${kind === 'i' ? 'fb' : 'bf'}(${lane})`);
  }

  /** Lanes by simple names, to be used more than once. */
  namedLanes(kind) {
    return this.lanes(kind).map((lane) => this.named(lane));
  }

  /** Puts what reads `hit` into variables of its own. */
  spill(hit) {
    this.stack.forEach((value, at) => {
      if (!this.texts(value).some(hit)) return;
      this.stack[at] = this.spilled(value, `${this.at0}:${at}`);
    });
  }

  spilled(value, place) {
    if (value.t === 'v128') {
      if (!this.kinds && value.k === '?') {
        this.written(place, value);
        const names = (value.i ?? value.f).map((lane) => this.temp(lane));
        return { t: 'v128', k: '?', i: names, f: names, places: [place] };
      }
      const kind = value.k === '?' ? (this.kinds.get(place) ?? 'i') : value.k;
      const lanes = this.lanes(kind, value).map((lane) => this.temp(lane));
      return { t: 'v128', k: kind, [kind]: lanes };
    }
    if (value.t === 'i64') return { t: 'i64', e: value.e.map((word) => this.temp(word)) };
    if (value.t === 'bool') return { t: 'i32', e: this.temp(this.scalar(value)) };
    return { t: value.t, e: this.temp(value.e) };
  }

  /** A vector of lanes of vectors of which it is open what they are, as long as it is. */
  opened(sources, pick) {
    return {
      t: 'v128',
      k: '?',
      i: pick('i'),
      ...(sources.every(({ f }) => f) ? { f: pick('f') } : {}),
      load: sources.some(({ load }) => load),
      places: sources.flatMap(({ places }) => places),
    };
  }

  spillAll() {
    this.spill((text) => !/^(-?[\d.e+-]+|t\d+|Infinity|-Infinity|NaN)$/.test(text));
  }

  spillReads() {
    this.spill((text) => /[A-Z]\[/.test(text));
  }

  spillLocal(names) {
    this.spill((text) => (text.match(NAME) ?? []).some((name) => names.includes(name)));
  }

  // ---- memory -------------------------------------------------------------------------------------------------------

  address(args) {
    const offset = Number(args.find((arg) => arg.startsWith('offset='))?.slice(7) ?? 0);
    const base = this.i32();
    return offset === 0 ? base : `(${base}+${offset})`;
  }

  at(view, index) {
    this.views.add(view);
    return `${view}[${index}]`;
  }

  store(text) {
    this.spillReads();
    this.out.push(text);
  }

  // ---- instructions -------------------------------------------------------------------------------------------------

  instruction(op, args) {
    const binary = BINARY[op];
    if (binary) {
      const b = this.pop();
      const a = this.pop();
      const [type, make] = binary;
      return this.push(type, make(this.scalar(a), this.scalar(b), this));
    }
    const unary = UNARY[op];
    if (unary) {
      const [type, make] = unary;
      return this.push(type, make(this.scalar(this.pop()), this));
    }
    if (op === 'v128.xor' && this.flipSigns()) return;
    const wide = LANEWISE[op];
    if (wide) {
      const [kind, to, make, runtime, repeated] = wide;
      if (runtime) this.used.add(runtime);
      const b = make.length > 1 ? this.take(kind, repeated) : null;
      const a = this.take(kind, repeated);
      return this.vector(
        to,
        lanes4((i) => make(a[i], b?.[i])),
      );
    }
    const method = SPECIAL[op];
    if (!method) throw new Error(`${this.name}: expected an instruction that is known, got ${op}`);
    method.call(this, args, op);
  }

  /** A vector ^ the signs of some of its lanes: floats that are negated. */
  flipSigns() {
    const [vector, signs] = this.stack.slice(-2);
    const isSign = (word) => word === 0 || word === -2147483648;
    if (!signs?.words?.every(isSign) || !signs.words.includes(0) || vector.k === 'i') return false;
    this.stack.length -= 2;
    const lanes = this.lanes('f', vector);
    this.vector(
      'f',
      lanes.map((lane, i) => (signs.words[i] ? `(-${guard(lane)})` : lane)),
    );
    return true;
  }

  take(kind, repeated) {
    return repeated ? this.namedLanes(kind) : this.lanes(kind);
  }

  assign(local, value, isTee) {
    const type = this.types.get(local);
    const names = this.names(local, type);
    if (type === 'v128') {
      if (!this.kinds) {
        this.written(local, value);
        this.spillLocal(names);
        if (isTee) this.stack.push(this.read(local));
        return;
      }
      const kind = this.kinds.get(local) ?? 'i';
      let lanes = this.lanes(kind, value);
      this.spillLocal(names);
      const reads = lanes.some((lane, i) =>
        names.slice(0, i).some((name) => (lane.match(NAME) ?? []).includes(name)),
      );
      if (reads) lanes = lanes.map((lane) => this.temp(lane));
      lanes.forEach((lane, i) => {
        if (lane !== names[i]) this.out.push(`${names[i]}=${lane};`);
      });
    } else {
      let texts = type === 'i64' ? value.e : [this.scalar(value)];
      this.spillLocal(names);
      if (type === 'i64' && (texts[1].match(NAME) ?? []).includes(names[0])) {
        texts = texts.map((text) => this.temp(text));
      }
      texts.forEach((text, i) => {
        if (text !== names[i]) this.out.push(`${names[i]}=${text};`);
      });
    }
    if (isTee) this.stack.push(this.read(local));
  }

  read(local) {
    const type = this.types.get(local);
    const names = this.names(local, type);
    if (type === 'v128') {
      if (!this.kinds) return { t: type, k: '?', i: names, f: names, places: [local] };
      const kind = this.kinds.get(local) ?? 'i';
      return { t: type, k: kind, [kind]: names };
    }
    return { t: type, e: type === 'i64' ? names : names[0] };
  }

  open(kind, args, head) {
    this.spillAll();
    const label = args.find((arg) => arg.startsWith('$'));
    const result = /\(result (\w+)\)/.exec(args.join(' '))?.[1];
    const entry = {
      kind,
      label,
      result,
      height: this.stack.length,
      place: `=${this.at0}`,
      temps: null,
      name: `b${this.labels.length}`,
    };
    if (result) {
      entry.temps = lanes4(() => {
        const name = `t${this.temps.length}`;
        this.temps.push(name);
        return name;
      }).slice(0, result === 'v128' ? 4 : result === 'i64' ? 2 : 1);
    }
    entry.start = this.out.length;
    entry.head = head;
    this.out.push('');
    this.labels.push(entry);
  }

  /** Stores the value of a block where its end expects it. */
  leave(entry) {
    if (!entry.result || this.stack.length <= entry.height) return;
    const value = this.stack.at(-1);
    if (!this.kinds && entry.result === 'v128') return this.written(entry.place, value);
    const texts =
      entry.result === 'v128'
        ? this.lanes(this.kinds.get(entry.place) ?? 'i', value)
        : entry.result === 'i64'
          ? value.e
          : [this.scalar(value)];
    texts.forEach((text, i) => {
      this.out.push(`${entry.temps[i]}=${text};`);
    });
  }

  close() {
    const entry = this.labels.pop();
    if (this.reachable()) this.leave(entry);
    this.stack.length = entry.height;
    if (entry.kind === 'loop' && this.reachable()) this.out.push('break;');
    this.out.push('}');
    const label = entry.isTarget ? `${entry.name}:` : '';
    this.out[entry.start] = label + entry.head;
    // The text after the closing brace is reachable again.
    if (entry.result) {
      if (entry.result === 'v128' && !this.kinds) {
        this.stack.push({ t: 'v128', k: '?', i: entry.temps, f: entry.temps, places: [entry.place] });
      } else if (entry.result === 'v128') this.vector(this.kinds.get(entry.place) ?? 'i', entry.temps);
      else this.push(entry.result, entry.result === 'i64' ? entry.temps : entry.temps[0]);
    }
  }

  target(label) {
    const entry = /^\d+$/.test(label)
      ? this.labels.at(-1 - Number(label))
      : this.labels.findLast((candidate) => candidate.label === label);
    entry.isTarget = true;
    return entry;
  }

  jump(label) {
    const entry = this.target(label);
    if (entry.kind !== 'loop') this.leave(entry);
    return `${entry.kind === 'loop' ? 'continue' : 'break'} ${entry.name};`;
  }

  returnVector(value) {
    const lanes = this.lanes('i', value);
    this.out.push(`Q0=${lanes[0]};Q1=${lanes[1]};Q2=${lanes[2]};Q3=${lanes[3]};return;`);
    this.module.returnsVectors = true;
  }
}

const int = (sign) => (a, b) => `(${a}${sign}${b}|0)`;
const bits = (sign) => (a, b) => `(${a}${sign}${b})`;
const compare = (sign) => (a, b) => `${a}${sign}${b}`;
const compareUnsigned = (sign) => (a, b, self) => `${self.unsigned(a)}${sign}${self.unsigned(b)}`;
const float = (sign) => (a, b) => fround(`${a}${sign}${b}`);

/** Instructions of two numbers: type of the result, expression. */
const BINARY = {
  'i32.add': ['i32', int('+')],
  'i32.sub': ['i32', (a, b) => `(${a}-${b.startsWith('-') ? `(${b})` : b}|0)`],
  'i32.mul': ['i32', (a, b) => `Math.imul(${a},${b})`],
  'i32.and': ['i32', bits('&')],
  'i32.or': ['i32', bits('|')],
  'i32.xor': ['i32', bits('^')],
  'i32.shl': ['i32', bits('<<')],
  'i32.shr_u': ['i32', (a, b) => `(${a}>>>${b}|0)`],
  'i32.shr_s': ['i32', bits('>>')],
  'i32.div_u': ['i32', (a, b, self) => `(${self.unsigned(a)}/${self.unsigned(b)}|0)`],
  'i32.rem_u': ['i32', (a, b, self) => `(${self.unsigned(a)}%${self.unsigned(b)}|0)`],
  'i32.div_s': ['i32', int('/')],
  'i32.rem_s': ['i32', int('%')],
  'i32.eq': ['bool', compare('===')],
  'i32.ne': ['bool', compare('!==')],
  'i32.lt_s': ['bool', compare('<')],
  'i32.gt_s': ['bool', compare('>')],
  'i32.le_s': ['bool', compare('<=')],
  'i32.ge_s': ['bool', compare('>=')],
  'i32.lt_u': ['bool', compareUnsigned('<')],
  'i32.gt_u': ['bool', compareUnsigned('>')],
  'i32.le_u': ['bool', compareUnsigned('<=')],
  'i32.ge_u': ['bool', compareUnsigned('>=')],
  'f32.min': ['f32', (a, b) => `Math.min(${a},${b})`],
  'f32.max': ['f32', (a, b) => `Math.max(${a},${b})`],
  'f64.min': ['f64', (a, b) => `Math.min(${a},${b})`],
  'f64.max': ['f64', (a, b) => `Math.max(${a},${b})`],
};
for (const [name, sign] of Object.entries({ add: '+', sub: '-', mul: '*', div: '/' })) {
  BINARY[`f32.${name}`] = ['f32', (a, b) => float(sign)(a, guard(b))];
  BINARY[`f64.${name}`] = ['f64', (a, b) => `(${a}${sign}${guard(b)})`];
}
for (const type of ['f32', 'f64']) {
  for (const [name, sign] of Object.entries({ eq: '===', ne: '!==', lt: '<', gt: '>', le: '<=', ge: '>=' })) {
    BINARY[`${type}.${name}`] = ['bool', compare(sign)];
  }
}

/** A negative number behind an operator needs a bracket: `a--1` is no subtraction. */
function guard(text) {
  return text.startsWith('-') ? `(${text})` : text;
}

function helper(type, name) {
  return [
    type,
    (a, self) => {
      self.used.add(name);
      return `${name}(${a})`;
    },
  ];
}

/** Instructions of one number. */
const UNARY = {
  'i32.clz': ['i32', (a) => `Math.clz32(${a})`],
  'i32.ctz': helper('i32', 'z'),
  'i32.popcnt': helper('i32', 'p'),
  'i32.extend8_s': ['i32', (a) => `(${a}<<24>>24)`],
  'i32.extend16_s': ['i32', (a) => `(${a}<<16>>16)`],
  'i32.trunc_sat_f32_u': helper('i32', 'tu'),
  'i32.trunc_sat_f64_u': helper('i32', 'tu'),
  'i32.trunc_sat_f32_s': helper('i32', 'ts'),
  'i32.trunc_sat_f64_s': helper('i32', 'ts'),
  'i32.reinterpret_f32': helper('i32', 'fb'),
  'f32.reinterpret_i32': helper('f32', 'bf'),
  'f32.convert_i32_s': ['f32', fround],
  'f32.convert_i32_u': ['f32', (a, self) => fround(self.unsigned(a))],
  'f64.convert_i32_s': ['f64', (a) => a],
  'f64.convert_i32_u': ['f64', (a, self) => self.unsigned(a)],
  'f64.promote_f32': ['f64', (a) => a],
  'f32.demote_f64': ['f32', fround],
  'f32.nearest': helper('f32', 'ne'),
  'f64.sqrt': ['f64', (a) => `Math.sqrt(${a})`],
  'f32.sqrt': ['f32', (a) => fround(`Math.sqrt(${a})`)],
};
for (const type of ['f32', 'f64']) {
  UNARY[`${type}.neg`] = [type, (a) => `(-${guard(a)})`];
  UNARY[`${type}.abs`] = [type, (a) => `Math.abs(${a})`];
  UNARY[`${type}.floor`] = [type, (a) => `Math.floor(${a})`];
  UNARY[`${type}.ceil`] = [type, (a) => `Math.ceil(${a})`];
  UNARY[`${type}.trunc`] = [type, (a) => `Math.trunc(${a})`];
}
// `!a` of a comparison is the comparison turned round only where no NaN can be.
UNARY['i32.eqz'] = ['bool', (a) => (/^\(.*\?1:0\)$/.test(a) ? `!(${a.slice(1, -5)})` : `${a}===0`)];

/** Instructions on two words each that do not mind which is which. */
function pairwise(sign) {
  return function () {
    const b = this.pop().e;
    const a = this.pop().e;
    this.push('i64', [`(${a[0]}${sign}${b[0]})`, `(${a[1]}${sign}${b[1]})`]);
  };
}

const SEVEN = 0x7f7f7f7f;
const FIFTEEN = 0x7fff7fff;
const added = (mask) => (a, b) => `((${a}&${mask})+(${b}&${mask})^(${a}^${b})&${~mask})`;
const taken = (mask) => (a, b) => `((${a}|${~mask})-(${b}&${mask})^(${a}^~${b})&${~mask})`;
const mask = (sign) => (a, b) => `(${a}${sign}${b}?-1:0)`;
const signed16 = (x, high) => (high ? `(${x}>>16)` : `(${x}<<16>>16)`);

/** Instructions on four lanes: kind of the lanes, of the result, expression, a runtime function, whether a lane is read twice. */
const LANEWISE = {
  'f32x4.abs': ['f', 'f', (a) => `Math.abs(${a})`],
  'f32x4.neg': ['f', 'f', (a) => `(-${guard(a)})`],
  'f32x4.sqrt': ['f', 'f', (a) => fround(`Math.sqrt(${a})`)],
  'f32x4.min': ['f', 'f', (a, b) => `Math.min(${a},${b})`],
  'f32x4.max': ['f', 'f', (a, b) => `Math.max(${a},${b})`],
  'f32x4.pmin': ['f', 'f', (a, b) => `(${b}<${a}?${b}:${a})`, null, true],
  'f32x4.pmax': ['f', 'f', (a, b) => `(${a}<${b}?${b}:${a})`, null, true],
  'f32x4.convert_i32x4_s': ['i', 'f', fround],
  'f32x4.convert_i32x4_u': ['i', 'f', (a) => fround(`(${a}>>>0)`)],
  'i32x4.add': ['i', 'i', int('+')],
  'i32x4.sub': ['i', 'i', (a, b) => `(${a}-${guard(b)}|0)`],
  'i32x4.mul': ['i', 'i', (a, b) => `Math.imul(${a},${b})`],
  'i32x4.eq': ['i', 'i', mask('===')],
  'i32x4.ne': ['i', 'i', mask('!==')],
  'i32x4.gt_s': ['i', 'i', mask('>')],
  'i32x4.lt_s': ['i', 'i', mask('<')],
  'i32x4.ge_s': ['i', 'i', mask('>=')],
  'i32x4.le_s': ['i', 'i', mask('<=')],
  'i32x4.gt_u': ['i', 'i', (a, b) => `(${a}>>>0>${b}>>>0?-1:0)`],
  'i32x4.lt_u': ['i', 'i', (a, b) => `(${a}>>>0<${b}>>>0?-1:0)`],
  'i32x4.min_u': ['i', 'i', (a, b) => `(${a}>>>0<${b}>>>0?${a}:${b})`, null, true],
  'i32x4.max_u': ['i', 'i', (a, b) => `(${a}>>>0>${b}>>>0?${a}:${b})`, null, true],
  'i32x4.min_s': ['i', 'i', (a, b) => `(${a}<${b}?${a}:${b})`, null, true],
  'i32x4.max_s': ['i', 'i', (a, b) => `(${a}>${b}?${a}:${b})`, null, true],
  'i32x4.abs': ['i', 'i', (a) => `(${a}<0?-${a}|0:${a})`, null, true],
  'i32x4.neg': ['i', 'i', (a) => `(-${guard(a)}|0)`],
  'i32x4.trunc_sat_f32x4_s': ['f', 'i', (a) => `ts(${a})`, 'ts'],
  'i32x4.trunc_sat_f32x4_u': ['f', 'i', (a) => `tu(${a})`, 'tu'],
  'i32x4.dot_i16x8_s': [
    'i',
    'i',
    (a, b) =>
      `(Math.imul(${signed16(a)},${signed16(b)})+Math.imul(${signed16(a, true)},${signed16(b, true)})|0)`,
    null,
    true,
  ],
  'i8x16.add': ['i', 'i', added(SEVEN), null, true],
  'i8x16.sub': ['i', 'i', taken(SEVEN), null, true],
  'i16x8.add': ['i', 'i', added(FIFTEEN), null, true],
  'i16x8.sub': ['i', 'i', taken(FIFTEEN), null, true],
  'i8x16.eq': ['i', 'i', (a, b) => `eq(${a},${b})`, 'eq'],
  'v128.and': ['i', 'i', bits('&')],
  'v128.or': ['i', 'i', bits('|')],
  'v128.xor': ['i', 'i', bits('^')],
  'v128.not': ['i', 'i', (a) => `(~${a})`],
  'v128.andnot': ['i', 'i', (a, b) => `(${a}&~${b})`],
};
for (const [name, sign] of Object.entries({ add: '+', sub: '-', mul: '*', div: '/' })) {
  LANEWISE[`f32x4.${name}`] = ['f', 'f', (a, b) => fround(`${a}${sign}${guard(b)}`)];
}
// (-a) + b is b - a, to the sign of a zero.
LANEWISE['f32x4.add'][2] = (a, b) =>
  fround(/^\(-\w+\)$/.test(a) ? `${b}-${a.slice(2, -1)}` : `${a}+${guard(b)}`);
for (const [name, sign] of Object.entries({ eq: '===', ne: '!==', lt: '<', gt: '>', le: '<=', ge: '>=' })) {
  LANEWISE[`f32x4.${name}`] = ['f', 'i', mask(sign)];
}

/** Byte `n` of a vector whose words have names. */
const byteOf = (words, n) => {
  const word = words[n >> 2];
  const shift = 8 * (n & 3);
  return shift === 24 ? `${word}>>>24` : shift === 0 ? `${word}&255` : `${word}>>>${shift}&255`;
};

function store(view, shift) {
  return function (args) {
    const value = this.i32();
    const address = this.address(args);
    const index = shift === 0 ? `${address}>>>0` : `${address}>>>${shift}`;
    this.store(`${this.at(view, index)}=${value};`);
  };
}

function load(type, view, shift) {
  return function (args) {
    const address = this.address(args);
    this.push(type, this.at(view, `${address}>>>${shift}`));
  };
}

/** Words at an address of four. */
function words(self, args, count, view = 'I') {
  const base = self.named(`${self.address(args)}>>>2`);
  return Array.from({ length: count }, (_, i) => self.at(view, i === 0 ? base : `${base}+${i}`));
}

/** Words at any address, which a kernel must say: `load<u32>(address, 0, 1)`. */
function anywhere(self, args, count) {
  const address = self.named(self.address(args));
  const base = self.named(`${address}>>>2`);
  const shift = self.named(`(${address}&3)<<3`);
  const at = (i) => self.at('I', i === 0 ? base : `${base}+${i}`);
  return Array.from(
    { length: count },
    (_, i) => `(${shift}===0?${at(i)}:${at(i)}>>>${shift}|${at(i + 1)}<<32-${shift})`,
  );
}

function shifted(make) {
  return function () {
    const count = this.i32();
    const words = this.namedLanes('i');
    const by = this.named(count);
    this.vector(
      'i',
      words.map((word) => make(word, by)),
    );
  };
}

function narrow(from, name) {
  return function () {
    this.used.add(name);
    const b = this.namedLanes('i');
    const a = this.namedLanes('i');
    const all = [...a, ...b];
    if (from === 32) {
      this.vector(
        'i',
        lanes4((i) => `(${name}(${all[2 * i]})&65535|${name}(${all[2 * i + 1]})<<16)`),
      );
    } else {
      const half = (word, high) => `${name}(${signed16(word, high)})&255`;
      this.vector(
        'i',
        lanes4(
          (i) =>
            `(${half(all[2 * i])}|(${half(all[2 * i], true)})<<8|(${half(all[2 * i + 1])})<<16|(${half(all[2 * i + 1], true)})<<24)`,
        ),
      );
    }
  };
}

function extend(high, isSigned) {
  return function () {
    const words = this.namedLanes('i').slice(high ? 2 : 0);
    const part = (word, upper) =>
      isSigned ? signed16(word, upper) : upper ? `(${word}>>>16)` : `(${word}&65535)`;
    this.vector(
      'i',
      lanes4((i) => part(words[i >> 1], i & 1)),
    );
  };
}

/** Instructions that do more than turn values into a value. */
const SPECIAL = {
  'i32.const'([text]) {
    this.push('i32', number(text, 32));
  },
  'f32.const'([text]) {
    const value = number(text);
    this.push('f32', Number.isFinite(Number(value)) ? literal(Math.fround(Number(value))) : value);
  },
  'f64.const'([text]) {
    this.push('f64', number(text));
  },
  'i64.const'([text]) {
    const value = BigInt.asIntN(64, text.startsWith('-') ? -BigInt(text.slice(1)) : BigInt(text));
    this.push('i64', [`${Number(BigInt.asIntN(32, value))}`, `${Number(BigInt.asIntN(32, value >> 32n))}`]);
  },
  'v128.const'([shape, ...values]) {
    if (shape !== 'i32x4') throw new Error(`v128.const: expected i32x4, got ${shape}`);
    const words = values.map((value) => Number(value) | 0);
    const floats = words.map(bitsToFloat);
    const areFloats = words.every(
      (word, i) => floatToBits(Number(floats[i])) === word && floats[i] !== 'NaN',
    );
    const lanes = { i: words.map(String), ...(areFloats ? { f: floats } : {}) };
    this.stack.push({ t: 'v128', k: '?', ...lanes, places: [], words });
  },
  'local.get'([local]) {
    this.stack.push(this.read(local));
  },
  'local.set'([local]) {
    this.assign(local, this.pop(), false);
  },
  'local.tee'([local]) {
    this.assign(local, this.pop(), true);
  },
  'global.get'([name]) {
    const [type, value] = this.module.globals.get(name);
    this.push(type, value);
  },
  nop() {},
  drop() {
    this.pop();
  },
  unreachable() {
    this.out.push('throw Error("unreachable");');
  },
  select() {
    const condition = this.named(this.condition());
    const b = this.pop();
    const a = this.pop();
    if (a.t === 'v128') {
      if (a.k === '?' && b.k === '?') {
        const pick = (kind) => lanes4((i) => `(${condition}?${a[kind][i]}:${b[kind][i]})`);
        this.stack.push(this.opened([a, b], pick));
        return;
      }
      const kind = a.k !== 'i' && b.k !== 'i' && (a.k === 'f' || b.k === 'f') ? 'f' : 'i';
      const left = this.lanes(kind, a);
      const right = this.lanes(kind, b);
      this.vector(
        kind,
        lanes4((i) => `(${condition}?${left[i]}:${right[i]})`),
      );
    } else if (a.t === 'i64')
      this.push(
        'i64',
        a.e.map((word, i) => `(${condition}?${word}:${b.e[i]})`),
      );
    else {
      const type = a.t === 'bool' ? 'i32' : a.t;
      this.push(type, `(${condition}?${this.scalar(a)}:${this.scalar(b)})`);
    }
  },
  block(args) {
    this.open('block', args, '{');
    this.labels.at(-1).isTarget = true;
  },
  loop(args) {
    this.open('loop', args, 'for(;;){');
  },
  if(args) {
    const condition = this.condition();
    this.open('if', args, `if(${condition}){`);
  },
  else() {
    const entry = this.labels.at(-1);
    if (this.reachable()) this.leave(entry);
    this.stack.length = entry.height;
    this.out.push('}else{');
  },
  end() {
    this.close();
  },
  br([label]) {
    const text = this.jump(label);
    this.out.push(text);
  },
  br_if([label]) {
    const condition = this.condition();
    this.spillAll();
    this.out.push(`if(${condition}){`);
    this.out.push(this.jump(label), '}');
  },
  return() {
    if (!this.result) this.out.push('return;');
    else if (this.result === 'v128') this.returnVector(this.pop());
    else this.out.push(`return ${this.scalar(this.pop())};`);
  },
  call([name]) {
    const callee = this.module.functions.get(name);
    const values = callee.params.map(() => this.pop()).reverse();
    const texts = values.flatMap((value, i) => {
      const type = callee.params[i][1];
      if (type === 'v128') {
        return this.lanes('i', value); // handed over as words
      }
      return type === 'i64' ? value.e : [this.scalar(value)];
    });
    const call = `${this.module.nameOf(name)}(${texts})`;
    this.spillReads();
    if (!callee.result) this.out.push(`${call};`);
    else if (callee.result === 'v128') {
      this.out.push(`${call};`);
      this.vector(
        'i',
        lanes4((i) => this.temp(`Q${i}`)),
      );
    } else this.push(callee.result, this.temp(call));
  },
  'memory.fill'() {
    const count = this.i32();
    const value = this.i32();
    const to = this.named(this.i32());
    this.views.add('B');
    this.store(`B.fill(${value},${to}>>>0,(${to}>>>0)+${this.unsigned(count)});`);
  },
  'memory.copy'() {
    const count = this.i32();
    const from = this.named(this.i32());
    const to = this.i32();
    this.views.add('B');
    this.store(`B.copyWithin(${this.unsigned(to)},${from}>>>0,(${from}>>>0)+${this.unsigned(count)});`);
  },
  'i32.rotl'() {
    const by = this.named(this.i32());
    const word = this.named(this.i32());
    this.push('i32', `(${word}<<${by}|${word}>>>32-${by})`);
  },
  'i32.rotr'() {
    const by = this.named(this.i32());
    const word = this.named(this.i32());
    this.push('i32', `(${word}>>>${by}|${word}<<32-${by})`);
  },

  'i32.load'(args) {
    if (args.includes('align=1')) this.push('i32', anywhere(this, args, 1)[0]);
    else load('i32', 'I', 2).call(this, args);
  },
  'i32.load8_u': load('i32', 'B', 0),
  'i32.load8_s': load('i32', 'C', 0),
  'i32.load16_u': load('i32', 'H', 1),
  'i32.load16_s': load('i32', 'G', 1),
  'f32.load': load('f32', 'F', 2),
  'f64.load': load('f64', 'D', 3),
  'i32.store': store('I', 2),
  'i32.store8': store('B', 0),
  'i32.store16': store('H', 1),
  'f32.store': store('F', 2),
  'f64.store': store('D', 3),

  'i64.load'(args) {
    this.push('i64', args.includes('align=1') ? anywhere(this, args, 2) : words(this, args, 2));
  },
  'i64.load32_u'(args) {
    this.push('i64', [...words(this, args, 1), '0']);
  },
  'i64.store'(args) {
    const value = this.pop().e.map((word) => this.named(word));
    const [low, high] = words(this, args, 2);
    this.store(`${low}=${value[0]};${high}=${value[1]};`);
  },
  'i64.store32'(args) {
    const value = this.pop().e[0];
    this.store(`${this.at('I', `${this.address(args)}>>>2`)}=${value};`);
  },
  'i64.store8'(args) {
    const value = this.pop().e[0];
    this.store(`${this.at('B', `${this.address(args)}>>>0`)}=${value};`);
  },
  'i64.extend_i32_u'() {
    this.push('i64', [this.i32(), '0']);
  },
  'i64.extend_i32_s'() {
    const word = this.named(this.i32());
    this.push('i64', [word, `(${word}>>31)`]);
  },
  'i32.wrap_i64'() {
    this.push('i32', this.pop().e[0]);
  },
  'i64.popcnt'() {
    this.used.add('p');
    const [low, high] = this.pop().e;
    this.push('i64', [`(p(${low})+p(${high}))`, '0']);
  },
  'i64.and': pairwise('&'),
  'i64.or': pairwise('|'),
  'i64.xor': pairwise('^'),
  'i64.shl'() {
    const by = this.named(this.pop().e[0]);
    const [low, high] = this.pop().e.map((word) => this.named(word));
    this.push('i64', [
      `(${by}<32?${low}<<${by}:0)`,
      `(${by}===0?${high}:${by}<32?${high}<<${by}|${low}>>>32-${by}:${low}<<${by}-32)`,
    ]);
  },
  'i64.shr_u'() {
    const by = this.named(this.pop().e[0]);
    const [low, high] = this.pop().e.map((word) => this.named(word));
    this.push('i64', [
      `(${by}===0?${low}:${by}<32?${low}>>>${by}|${high}<<32-${by}:${high}>>>${by}-32|0)`,
      `(${by}<32?${high}>>>${by}|0:0)`,
    ]);
  },
  'i64.add'() {
    const [b0, b1] = this.pop().e;
    const [a0, a1] = this.pop().e;
    const first = this.named(a0);
    const low = this.temp(`${first}+${guard(b0)}|0`);
    this.push('i64', [low, `(${a1}+${guard(b1)}+(${low}>>>0<${first}>>>0?1:0)|0)`]);
  },
  'i64.sub'() {
    const [b0, b1] = this.pop().e;
    const [a0, a1] = this.pop().e;
    const first = this.named(a0);
    const second = this.named(b0);
    this.push('i64', [
      `(${first}-${guard(second)}|0)`,
      `(${a1}-${guard(b1)}-(${first}>>>0<${second}>>>0?1:0)|0)`,
    ]);
  },

  'v128.load'(args) {
    const base = this.named(`${this.address(args)}>>>2`);
    const at = (view) => lanes4((i) => `${view}[${i === 0 ? base : `${base}+${i}`}]`);
    this.stack.push({ t: 'v128', k: '?', i: at('I'), f: at('F'), load: true, places: [] });
  },
  'v128.store'(args) {
    const value = this.pop();
    const kind = value.k === '?' ? 'i' : value.k;
    if (value.load) this.views.add('I');
    const lanes = value[kind].map((lane) => (/\[/.test(lane) ? this.temp(lane) : lane));
    this.views.add(kind === 'i' ? 'I' : 'F');
    const to = words(this, args, 4, kind === 'i' ? 'I' : 'F');
    this.spillReads();
    to.forEach((place, i) => {
      this.out.push(`${place}=${lanes[i]};`);
    });
  },
  'v128.load32_splat'(args) {
    const base = this.named(`${this.address(args)}>>>2`);
    const word = { i: `I[${base}]`, f: `F[${base}]` };
    this.stack.push({
      t: 'v128',
      k: '?',
      i: lanes4(() => word.i),
      f: lanes4(() => word.f),
      load: true,
      places: [],
    });
  },
  'v128.load32_zero'(args) {
    const base = this.named(`${this.address(args)}>>>2`);
    this.stack.push({
      t: 'v128',
      k: '?',
      i: [`I[${base}]`, '0', '0', '0'],
      f: [`F[${base}]`, '0', '0', '0'],
      load: true,
      places: [],
    });
  },
  'v128.load64_zero'(args) {
    this.vector('i', [...words(this, args, 2), '0', '0']);
  },
  'v128.load8x8_s'(args) {
    const base = this.named(`${this.address(args)}>>>0`);
    const byte = (i) => this.at('C', i === 0 ? base : `${base}+${i}`);
    this.vector(
      'i',
      lanes4((i) => `(${byte(2 * i)}&65535|${byte(2 * i + 1)}<<16)`),
    );
  },
  'v128.load8x8_u'(args) {
    const base = this.named(`${this.address(args)}>>>0`);
    const byte = (i) => this.at('B', i === 0 ? base : `${base}+${i}`);
    this.vector(
      'i',
      lanes4((i) => `(${byte(2 * i)}|${byte(2 * i + 1)}<<16)`),
    );
  },
  'v128.load16x4_s'(args) {
    const base = this.named(`${this.address(args)}>>>1`);
    this.vector(
      'i',
      lanes4((i) => this.at('G', i === 0 ? base : `${base}+${i}`)),
    );
  },
  'v128.load16x4_u'(args) {
    const base = this.named(`${this.address(args)}>>>1`);
    this.vector(
      'i',
      lanes4((i) => this.at('H', i === 0 ? base : `${base}+${i}`)),
    );
  },
  'v128.store64_lane'(args) {
    const lane = Number(args.at(-1));
    const words2 = this.namedLanes('i').slice(2 * lane, 2 * lane + 2);
    const [low, high] = words(this, args, 2);
    this.store(`${low}=${words2[0]};${high}=${words2[1]};`);
  },
  'v128.store32_lane'(args) {
    const lane = Number(args.at(-1));
    const word = this.named(this.lanes('i')[lane]);
    const [low] = words(this, args, 1);
    this.store(`${low}=${word};`);
  },
  'v128.any_true'() {
    this.push('bool', `(${this.lanes('i').join('|')})!==0`);
  },
  'v128.bitselect'() {
    const masks = this.namedLanes('i');
    const b = this.lanes('i');
    const a = this.lanes('i');
    this.vector(
      'i',
      lanes4((i) => `(${a[i]}&${masks[i]}|${b[i]}&~${masks[i]})`),
    );
  },
  'f32x4.splat'() {
    const name = this.named(this.pop().e);
    this.vector(
      'f',
      lanes4(() => name),
    );
  },
  'i32x4.splat'() {
    const name = this.named(this.i32());
    this.vector(
      'i',
      lanes4(() => name),
    );
  },
  'i16x8.splat'() {
    const word = this.named(this.i32());
    const name = this.named(`(${word}&65535|${word}<<16)`);
    this.vector(
      'i',
      lanes4(() => name),
    );
  },
  'i8x16.splat'() {
    const name = this.named(`Math.imul(${this.i32()}&255,16843009)`);
    this.vector(
      'i',
      lanes4(() => name),
    );
  },
  'i64x2.splat'() {
    const [low, high] = this.pop().e.map((word) => this.named(word));
    this.vector('i', [low, high, low, high]);
  },
  'f32x4.extract_lane'([lane]) {
    this.push('f32', this.lanes('f')[Number(lane)]);
  },
  'i32x4.extract_lane'([lane]) {
    this.push('i32', this.lanes('i')[Number(lane)]);
  },
  'i64x2.extract_lane'([lane]) {
    this.push('i64', this.lanes('i').slice(2 * lane, 2 * lane + 2));
  },
  'i16x8.extract_lane_u'([lane]) {
    const word = this.lanes('i')[lane >> 1];
    this.push('i32', lane & 1 ? `(${word}>>>16)` : `(${word}&65535)`);
  },
  'i16x8.extract_lane_s'([lane]) {
    this.push('i32', signed16(this.lanes('i')[lane >> 1], lane & 1));
  },
  'i8x16.extract_lane_u'([lane]) {
    this.push('i32', `(${byteOf(this.lanes('i'), Number(lane))})`);
  },
  'f32x4.replace_lane'([lane]) {
    const value = this.pop().e;
    const lanes = [...this.lanes('f')];
    lanes[Number(lane)] = value;
    this.vector('f', lanes);
  },
  'i32x4.replace_lane'([lane]) {
    const value = this.i32();
    const lanes = [...this.lanes('i')];
    lanes[Number(lane)] = value;
    this.vector('i', lanes);
  },
  'i64x2.replace_lane'([lane]) {
    const value = this.pop().e;
    const lanes = [...this.lanes('i')];
    lanes.splice(2 * lane, 2, ...value);
    this.vector('i', lanes);
  },
  'i32x4.bitmask'() {
    const lanes = this.lanes('i');
    this.push(
      'i32',
      `(${lanes.map((lane, i) => (i === 0 ? `${lane}>>>31` : `${lane}>>>31<<${i}`)).join('|')})`,
    );
  },
  'i8x16.bitmask'() {
    const lanes = this.namedLanes('i');
    // The four signs of a word, moved next to each other by one multiplication.
    const four = (lane) => `Math.imul(${lane}>>>7&16843009,270549120)>>>28`;
    this.push(
      'i32',
      `(${lanes.map((lane, i) => (i === 0 ? four(lane) : `${four(lane)}<<${4 * i}`)).join('|')})`,
    );
  },
  'i32x4.all_true'() {
    this.push('bool', `(${this.lanes('i').join('&&')})`);
  },
  'i32x4.shl': shifted((word, by) => `(${word}<<${by})`),
  'i32x4.shr_s': shifted((word, by) => `(${word}>>${by})`),
  'i32x4.shr_u': shifted((word, by) => `(${word}>>>${by}|0)`),
  'i16x8.shl': shifted((word, by) =>
    /^\d+$/.test(by)
      ? `(${word}<<${by}&${Math.imul(((65535 << Number(by)) & 65535) >>> 0, 65537)})`
      : `(${word}<<${by}&65535|${word}>>>16<<${by}<<16)`,
  ),
  'i16x8.shr_u': shifted((word, by) =>
    /^\d+$/.test(by)
      ? `(${word}>>>${by}&${Math.imul(65535 >>> Number(by), 65537)})`
      : `((${word}&65535)>>>${by}|${word}>>>16>>>${by}<<16)`,
  ),
  'i16x8.shr_s': shifted((word, by) => `(${signed16(word)}>>${by}&65535|${word}>>16>>${by}<<16)`),
  'i16x8.narrow_i32x4_s': narrow(32, 'ss'),
  'i16x8.narrow_i32x4_u': narrow(32, 'su'),
  'i8x16.narrow_i16x8_s': narrow(16, 'bs'),
  'i8x16.narrow_i16x8_u': narrow(16, 'bu'),
  'i32x4.extend_low_i16x8_u': extend(false, false),
  'i32x4.extend_high_i16x8_u': extend(true, false),
  'i32x4.extend_low_i16x8_s': extend(false, true),
  'i32x4.extend_high_i16x8_s': extend(true, true),
  'i8x16.swizzle'() {
    this.used.add('sw');
    const indices = this.namedLanes('i');
    const table = this.namedLanes('i');
    this.vector(
      'i',
      lanes4((i) => this.temp(`sw(${table},${indices[i]})`)),
    );
  },
  'i8x16.shuffle'(args) {
    const places = args.map(Number);
    const right = this.pop();
    const left = this.pop();
    const whole = lanes4((i) => places.slice(4 * i, 4 * i + 4)).map(([a, b, c, d]) =>
      a % 4 === 0 && b === a + 1 && c === a + 2 && d === a + 3 ? a / 4 : -1,
    );
    if (whole.every((place) => place >= 0)) {
      const sources = [left, right].filter((_, side) => whole.some((place) => place >> 2 === side));
      const areFloats =
        sources.some(({ k }) => k === 'f') && sources.every(({ k, f }) => k === 'f' || (k === '?' && f));
      const isOpen = sources.every(({ k }) => k === '?');
      const pick = (kind) => {
        const all = [left, right].flatMap((value) => value[kind] ?? lanes4(() => '0'));
        return whole.map((place) => all[place]);
      };
      if (isOpen) {
        // Nothing is decided yet: both readings stay open.
        this.stack.push(this.opened(sources, pick));
        return;
      }
      const kind = areFloats ? 'f' : 'i';
      const all = [left, right].flatMap((value) =>
        sources.includes(value) ? this.lanes(kind, value) : lanes4(() => '0'),
      );
      this.vector(
        kind,
        whole.map((place) => all[place]),
      );
      return;
    }
    const all = [
      ...this.lanes('i', left).map((lane) => this.named(lane)),
      ...this.lanes('i', right).map((lane) => this.named(lane)),
    ];
    this.vector(
      'i',
      lanes4((i) => {
        const [a, b, c, d] = places.slice(4 * i, 4 * i + 4);
        if (b === a + 1 && a % 2 === 0 && d === c + 1 && c % 2 === 0) {
          const low = a % 4 === 0 ? `${all[a >> 2]}&65535` : `${all[a >> 2]}>>>16`;
          const high = c % 4 === 0 ? `${all[c >> 2]}<<16` : `${all[c >> 2]}&-65536`;
          return `(${low}|${high})`;
        }
        return `(${[a, b, c, d].map((n, j) => (j === 0 ? byteOf(all, n) : `(${byteOf(all, n)})<<${8 * j}`)).join('|')})`;
      }),
    );
  },
};
SPECIAL['i8x16.relaxed_swizzle'] = SPECIAL['i8x16.swizzle'];

function literal(value) {
  return Object.is(value, -0) ? '-0' : `${value}`;
}

/** The functions, globals and exports of a module in the text form that asc writes: one instruction a line. */
function parse(wat) {
  const functions = new Map();
  const globals = new Map();
  const exports = [];
  let current = null;
  for (const raw of wat.split('\n')) {
    const line = raw.replace(/;;.*$/, '').trim();
    if (line === '') continue;
    if (current === null) {
      const global = /^\(global (\S+) (?:\(mut )?(\w+)\)? \(\w+\.const (\S+)\)\)$/.exec(line);
      if (global) globals.set(global[1], [global[2], number(global[3], global[2] === 'i32' ? 32 : 64)]);
      const exported = /^\(export "([^"]+)" \((func|global|memory) (\S+)\)\)$/.exec(line);
      if (exported) exports.push({ name: exported[1], kind: exported[2], target: exported[3] });
      const head = /^\(func (\S+)(.*)$/.exec(line);
      if (!head) continue;
      const params = [...head[2].matchAll(/\(param (\$\S+) (\w+)\)/g)].map(([, local, type]) => [
        local,
        type,
      ]);
      const result = /\(result (\w+)\)/.exec(head[2])?.[1] ?? null;
      current = { name: head[1], params, locals: [], result, body: [] };
      functions.set(head[1], current);
      continue;
    }
    const local = /^\(local (\$\S+) (\w+)\)$/.exec(line);
    if (local) current.locals.push([local[1], local[2]]);
    else if (line === ')') current = null;
    else current.body.push(line.split(/\s+/));
  }
  return { functions, globals, exports };
}

/**
 * The module in JavaScript: exports `kernels(memory)`, which gives all functions over that memory, and the same under the
 * name of each of `lists`, module texts that export some of them: a bundler drops what only others need.
 */
export function translate(wat, lists = {}) {
  const { functions, globals, exports } = parse(wat);
  const names = new Map([...functions.keys()].map((name, i) => [name, `k${i}`]));
  const translators = new Map();
  const module = {
    functions,
    globals,
    nameOf: (name) => names.get(name),
  };
  for (const [name, about] of functions) {
    const translator = new Translator(module, about);
    for (const [local, type] of about.params) if (type === 'v128') translator.votesOf(local).i++;
    translators.set(name, translator);
  }
  const used = new Set();
  const texts = [];
  for (const translator of translators.values()) {
    texts.push(translator.translate());
    for (const name of translator.used) used.add(name);
  }
  const runtime = Object.entries(RUNTIME)
    .filter(([name]) => used.has(name))
    .map(([name, text]) => `const ${name}=${text};`);
  const entries = exports
    .filter(({ kind }) => kind !== 'memory')
    .map(({ name, kind, target }) => {
      if (kind === 'global') return [name, `'${name}':{value:${globals.get(target)[1]}}`];
      const { params, result } = functions.get(target);
      const parameters = params.map((_, i) => `a${i}`);
      const given = params.map(([, type], i) =>
        type === 'i32' ? `a${i}|0` : type === 'f32' ? `r(a${i})` : `a${i}`,
      );
      const call = `${names.get(target)}(${given})`;
      const body = result ? `const x=${call};off();return x` : `${call};off()`;
      return [name, `${name}:(${parameters})=>{on();${body}}`];
    });
  const doors = [
    ['kernels', exports],
    ...Object.entries(lists).map(([list, text]) => [list, parse(text).exports]),
  ];
  // The views are the module's own while a kernel runs, so that all memories share the functions, which an engine then
  // compiles once; behind it nothing holds the memory.
  const views = { I: 'Int32', F: 'Float32', B: 'Uint8', C: 'Int8', H: 'Uint16', G: 'Int16', D: 'Float64' };
  const names7 = Object.keys(views);
  return [
    '// Translated from the compiled kernels by assembly/javascript.mjs.',
    'const r=Math.fround;',
    'const RI=/*@__PURE__*/new Int32Array(4),RF=/*@__PURE__*/new Float32Array(RI.buffer),R8=/*@__PURE__*/new Uint8Array(RI.buffer);',
    'let Q0=0,Q1=0,Q2=0,Q3=0;',
    `let ${names7.map((view) => `$${view}`)};`,
    `const off=()=>{${names7.map((view) => `$${view}=`).join('')}undefined};`,
    ...runtime,
    ...texts,
    'const over=(memory)=>{let b,v;return()=>{const n=memory.buffer;',
    `if(n!==b){b=n;v={${names7.map((view) => `${view}:new ${views[view]}Array(n)`)}}}`,
    `${names7.map((view) => `$${view}=v.${view};`).join('')}}};`,
    ...doors.map(([list, listed]) => {
      const texts = entries
        .filter(([name]) => listed.some((other) => other.name === name))
        .map(([, text]) => text);
      return `export const ${list}=(memory)=>{const on=over(memory);return{${texts}}};`;
    }),
    '',
  ].join('\n');
}
