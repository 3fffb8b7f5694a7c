export type { StoredIndex } from './platform.js';
export {
  IndexStorage,
  openStorage,
  type SavableIndex,
  type StorageCallOptions,
  StorageError,
  type StorageErrorCode,
  type StorageOptions,
  StorageQuotaError,
} from './storage.js';
