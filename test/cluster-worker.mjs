// A worker process of the cluster's tests: says its id once it serves, then each change of what it serves.
import { ClusterWorker, DirectoryStore } from 'orthant/cluster';

const { folder, ...options } = JSON.parse(process.argv[2]);
const worker = await ClusterWorker.start({
  ...options,
  ...(folder ? { store: new DirectoryStore(folder) } : {}),
});
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
worker.on('segments', (segments) => say({ segments }));
worker.on('problem', (error) => say({ problem: error.message }));
say({ id: worker.id, segments: worker.status.segments });
process.on('SIGTERM', () => {
  worker.close().then(() => process.exit(0));
});
