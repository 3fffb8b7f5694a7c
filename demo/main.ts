import { byId } from './page.js';
import { connect, type Remote } from './remote.js';
import type { CurveWork } from './tasks/curve.js';
import type { DigitsWork } from './tasks/digits.js';
import type { VectorsWork } from './tasks/vectors.js';
import type { WordsWork } from './tasks/words.js';
import { CurveView } from './views/curve.js';
import { DigitsView } from './views/digits.js';
import { VectorsView } from './views/vectors.js';
import { WordsView } from './views/words.js';

/** A worker for each view: the measuring of one keeps no other waiting. */
function ask<Work>(part: string): Remote<Work> {
  return connect(new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' }))<Work>(part);
}

const views = {
  digits: () => new DigitsView(ask<DigitsWork>('digits')),
  curve: () => new CurveView(ask<CurveWork>('curve')),
  vectors: () => new VectorsView(ask<VectorsWork>('vectors')),
  words: () => new WordsView(ask<WordsWork>('words')),
};
type Name = keyof typeof views;
const names = Object.keys(views) as Name[];
/** Views are made when they are first looked at. */
const made = new Set<Name>();

function show(name: Name): void {
  for (const other of names) {
    byId(other).hidden = other !== name;
    const tab = byId(`tab-${other}`);
    tab.setAttribute('aria-selected', String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
  }
  if (!made.has(name)) {
    made.add(name);
    views[name]();
  }
}

names.forEach((name, i) => {
  const tab = byId(`tab-${name}`);
  tab.onclick = () => {
    history.replaceState(null, '', `#${name}`);
    show(name);
  };
  tab.onkeydown = ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step === undefined) return;
    const next = byId(`tab-${names[(i + step + names.length) % names.length]}`);
    next.focus();
    next.click();
  };
});
const wanted = location.hash.slice(1) as Name;
show(names.includes(wanted) ? wanted : 'digits');
