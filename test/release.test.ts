import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');
const manifest = JSON.parse(read('package.json'));

describe('a release', () => {
  const workflow = read('.github/workflows/publish.yml');
  const steps = workflow.slice(workflow.indexOf('steps:'));

  it('is published by a workflow with provenance and without a token, after all tests', () => {
    expect(steps).toContain('npm publish --provenance --access public');
    expect(workflow).toContain('id-token: write');
    expect(workflow).not.toMatch(/secrets\.|NODE_AUTH_TOKEN/);
    const order = ['npm ci', 'npm test', 'npm pkg set repository', 'npm publish'].map((command) =>
      steps.indexOf(command),
    );
    expect(order.every((at, i) => at > (order[i - 1] ?? 0))).toBe(true);
  });

  it('may do nothing but read the sources where it is not told otherwise', () => {
    expect(workflow).toMatch(/^permissions:\n {2}contents: read\n\n/m);
    expect(workflow.match(/: write/g)).toHaveLength(1);
  });

  it('has a version that the changelog tells of, and a tag that equals it', () => {
    expect(read('CHANGELOG.md')).toMatch(new RegExp(`^## ${manifest.version.replaceAll('.', '\\.')}$`, 'm'));
    expect(steps).toContain('test "$TAG" = "v$version"');
    expect(steps).toContain('grep -Fx "## $version" CHANGELOG.md');
  });

  it('promises to read the formats of snapshots that the tests keep', () => {
    const [, format] = /whole number in the header .*?; (\d+) now/s.exec(read('docs/versions.md')) ?? [];
    expect(read('docs/snapshot-format.md')).toContain(`# The snapshot format, version ${format}`);
    expect(read('README.md')).toContain('docs/versions.md');
    expect(read('CONTRIBUTING.md')).toContain('docs/versions.md');
  });
});
