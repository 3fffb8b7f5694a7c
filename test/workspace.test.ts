import { describe, expect, it } from 'vitest';
import { openWorkspace, withWorkspace } from '../src/workspace.js';
import { thrownBy } from './answers.js';

const KEPT = 2 ** 26;

describe('the hidden workspace', () => {
  it('is lent again and again, and what a call gives and throws comes through', () => {
    const first = withWorkspace((workspace) => workspace);
    expect(withWorkspace((workspace) => workspace)).toBe(first);
    expect(withWorkspace(({ memory }) => memory.usage().total)).toBeLessThan(KEPT);
    const failure = new Error('as thrown');
    const fails = (): never => {
      throw failure;
    };
    expect(thrownBy(() => withWorkspace(fails))).toBe(failure);
    expect(withWorkspace((workspace) => workspace)).toBe(first);
  });

  it('is kept with a memory of just 64 MiB, and given up with a larger one, also by a call that fails', () => {
    const first = withWorkspace((workspace) => workspace);
    const page = 65536;
    const growTo = (bytes: number): void =>
      withWorkspace(({ memory }) => {
        memory.memory.grow((bytes - memory.memory.buffer.byteLength) / page);
      });
    growTo(KEPT);
    expect(first.memory.usage().total).toBe(KEPT);
    expect(withWorkspace((workspace) => workspace)).toBe(first);
    growTo(KEPT + page);
    const second = withWorkspace((workspace) => workspace);
    expect(second).not.toBe(first);
    expect(second.memory.usage().total).toBeLessThan(KEPT);
    const error = thrownBy(() =>
      withWorkspace(({ memory }) => {
        memory.reserve('large', KEPT);
        throw new Error('after it has grown');
      }),
    );
    expect(error.message).toBe('after it has grown');
    expect(withWorkspace((workspace) => workspace)).not.toBe(second);
  });

  it('is none of those that are opened for an index, which have a limit of their own', () => {
    const own = openWorkspace(100_000);
    expect(withWorkspace((workspace) => workspace)).not.toBe(own);
    expect(thrownBy(() => own.memory.reserve('rows', 200_000)).code).toBe('ERR_OUT_OF_MEMORY');
    withWorkspace(({ memory }) => {
      memory.reserve('rows', 200_000);
      memory.release('rows');
    });
  });
});
