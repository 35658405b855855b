// Imported by a worker before all else (see `preludes` in server.js): lets a test lose the GPU, or make it wrong, while it works.

/** @type {Set<GPUDevice>} */
const devices = new Set();
let wrong = false;

const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await requestDevice.apply(this, args);
  devices.add(device);
  return device;
};

const { getMappedRange } = GPUBuffer.prototype;
GPUBuffer.prototype.getMappedRange = function (...args) {
  const range = getMappedRange.apply(this, args);
  if (wrong && this.usage & GPUBufferUsage.MAP_READ) {
    const bytes = new Uint8Array(range);
    for (let i = 0; i < bytes.length; i++) bytes[i] ^= 0x10;
  }
  return range;
};

new BroadcastChannel("gpu-faults").onmessage = ({ data }) => {
  if (data === "lose") for (const device of devices) device.destroy();
  if (data === "wrong") wrong = true;
};
