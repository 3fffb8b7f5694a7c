/** Every row compared, in careful JavaScript: the least that an index must beat. */
import { JavaScriptExact, Nearest } from '../../pure-javascript.ts';

let exact;
let nearest;

export default {
  kind: 'js',
  note: 'exact: every row compared, careful JavaScript',
  build(base, _n, d) {
    exact = new JavaScriptExact(base, d);
    nearest = new Nearest(10);
  },
  search(query) {
    exact.search(query, nearest);
    return nearest.ids.slice();
  },
};
