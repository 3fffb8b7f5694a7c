import { makeFaiss } from '../faiss.mjs';

export default makeFaiss('Flat', 'exact, one query at a time');
