import { FileFormatError } from './file-error.js';

/** A package that is only loaded when a file needs it; where it is missing, the message says what to install. */
export async function loadOptional<Module>(
  name: string,
  file: string,
  load: () => Promise<Module>,
): Promise<Module> {
  try {
    return await load();
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new FileFormatError(
      'ERR_PACKAGE_MISSING',
      file,
      `the package ${name}, which reads such files (npm install ${name})`,
      'none installed',
      { cause: error },
    );
  }
}
