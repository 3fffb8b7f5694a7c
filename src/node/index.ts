export { type FileErrorCode, FileFormatError, readLabels, readVectors, type VectorFile } from './files.js';
