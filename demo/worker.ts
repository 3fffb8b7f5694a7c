/** Owns the indexes of a view. The page's own thread only draws. */
import { serve } from './remote.js';
import { CurveWork } from './tasks/curve.js';
import { DigitsWork } from './tasks/digits.js';
import { VectorsWork } from './tasks/vectors.js';
import { WordsWork } from './tasks/words.js';

serve({
  digits: new DigitsWork(),
  curve: new CurveWork(),
  vectors: new VectorsWork(),
  words: new WordsWork(),
});
