import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { PeersResult } from '../bench/peers.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'orthant-peers-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the benchmark of other packages', () => {
  it('has an adapter for each, and names exact versions of all that are installed', () => {
    const adapters = readdirSync(path.join(root, 'bench/peers/adapters')).map((name) =>
      name.replace('.mjs', ''),
    );
    const listed = /const PEERS = \[([^\]]*)\]/.exec(readFileSync(path.join(root, 'bench/peers.ts'), 'utf8'));
    const peers = [...(listed?.[1] ?? '').matchAll(/'([^']+)'/g)].map((match) => match[1]);
    expect(adapters.sort()).toEqual(peers.sort());
    const { dependencies } = JSON.parse(readFileSync(path.join(root, 'bench/peers/package.json'), 'utf8'));
    for (const version of Object.values(dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('measures this package and plain JavaScript, and keeps who is not installed with the reason', () => {
    const file = path.join(folder, 'peers.json');
    const args = ['--import', 'tsx', 'bench/peers.ts', '--sets', 'digits', '--json', file];
    args.push('--peers', 'orthant,brute-force,voy-search');
    execFileSync(process.execPath, args, { cwd: root, stdio: 'pipe' });
    const { peers, node, machine } = JSON.parse(readFileSync(file, 'utf8')) as PeersResult;
    expect([node, machine.length > 0]).toEqual([process.version, true]);
    const [own, plain, other] = peers;
    expect([own.error, plain.error]).toEqual([undefined, undefined]);
    expect(own.curve?.map(({ recall }) => recall).at(-1)).toBeGreaterThan(0.99);
    // equal distances are common among digits, and either row is right
    expect(plain.curve?.[0].recall).toBeGreaterThan(0.99);
    expect(own.qpsAt?.['0.95']).toBeGreaterThan(plain.qpsAt?.['0.95'] as number);
    // where it is installed it cannot take so many equal coordinates
    const isInstalled = existsSync(path.join(root, 'bench/peers/node_modules/voy-search'));
    expect(other.error).toMatch(isInstalled ? /./ : /not installed/);
  });

  it('names what is wrong with an option', () => {
    const args = ['--import', 'tsx', 'bench/peers.ts', '--peers', 'nobody'];
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
    expect([status, stderr]).toEqual([2, expect.stringContaining('--peers: expected some of orthant')]);
  });
});
