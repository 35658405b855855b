// Imported by a worker before all else (see `preludes` in server.js): lets a test stop workers in the middle of their work.
// `{ name, after, times }` on the channel "worker-faults": a worker of that name stops at its call number `after`.

const channel = new BroadcastChannel("worker-faults");
let left = Number.POSITIVE_INFINITY;

channel.onmessage = ({ data }) => {
  if (data.name === self.name) left = data.after;
};

self.addEventListener("message", (event) => {
  if (event.data?.method === undefined) return;
  if (left-- > 0) return;
  left = Number.POSITIVE_INFINITY;
  // The call is never answered: an error outside of it is how a worker ends.
  event.stopImmediatePropagation();
  throw new Error("stopped by the test");
});
// A worker that starts asks what it has to do.
channel.postMessage({ started: self.name });
