export { type FileErrorCode, FileFormatError } from './file-error.js';
export { readLabels, readVectors, type VectorFile } from './files.js';
export type { FloatRows } from './layout.js';
export {
  formatOf,
  type OpenOptions,
  openVectors,
  type PageOptions,
  readAllVectors,
  type VectorFormat,
  type VectorPage,
  type VectorSource,
} from './open.js';
export { abandonFiles, FileReplacement } from './replace-file.js';
export { loadFile, type SavableIndex, type SaveFileOptions, saveFile } from './save.js';
export { shortest, TextBytes } from './text.js';
export { type CreateOptions, createVectors, type VectorWriter } from './write.js';
