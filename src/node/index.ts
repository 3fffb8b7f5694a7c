export { type FileErrorCode, FileFormatError } from './file-error.js';
export { readLabels, readVectors, type VectorFile } from './files.js';
export {
  formatOf,
  type OpenOptions,
  openVectors,
  readAllVectors,
  type VectorFormat,
  type VectorPage,
  type VectorSource,
} from './open.js';
export { abandonFiles, FileReplacement } from './replace-file.js';
export { loadFile, type SavableIndex, type SaveFileOptions, saveFile } from './save.js';
export { type CreateOptions, createVectors, shortest, type VectorWriter } from './write.js';
