/** Faiss by `fromFactory('HNSW16')`: efConstruction 40 and efSearch 16 are fixed, since the package has no way to set them. */
import { makeFaiss } from '../faiss.mjs';

export default makeFaiss('HNSW16', 'HNSW16; efConstruction 40 and efSearch 16 cannot be set');
