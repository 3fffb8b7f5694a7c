import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, LogLevel, TSConfigReader, TypeDocReader } from 'typedoc';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

describe('the API reference', () => {
  it('has words for every export and method, and leaves out no type that one of them names', async () => {
    const told: string[] = [];
    const options = { options: path.join(root, 'typedoc.json'), logLevel: LogLevel.Warn };
    const app = await Application.bootstrapWithPlugins(options, [new TypeDocReader(), new TSConfigReader()]);
    app.logger.log = (message, level) => {
      if (level >= LogLevel.Warn) told.push(message);
    };
    const project = await app.convert();
    if (project === undefined) throw new Error(told.join('\n'));
    app.validate(project);
    expect(told).toEqual([]);

    const { exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
    // orthant/js and orthant.js have the names of orthant; the others have none
    const doors = Object.keys(exports).filter((door) => /^\.(\/(?!js$)\w+)?$/.test(door));
    const modules = project.children?.map(({ name }) =>
      name === 'index' ? '.' : `./${name.replace('/index', '')}`,
    );
    expect(modules?.sort()).toEqual(doors.sort());
  });
});
