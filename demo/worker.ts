/** Owns the indexes of a view. The page's own thread only draws. */
import { serve } from './remote.js';
import { CurveWork } from './work/curve.js';
import { DigitsWork } from './work/digits.js';
import { VectorsWork } from './work/vectors.js';
import { WordsWork } from './work/words.js';

serve({
  digits: new DigitsWork(),
  curve: new CurveWork(),
  vectors: new VectorsWork(),
  words: new WordsWork(),
});
