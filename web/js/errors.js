/**
 * What goes wrong, for programs (`code`) and for people (`message`, and `hint`: what to do).
 *
 * @typedef {'no-webgpu'|'limits'|'out-of-memory'|'network'|'integrity'|'storage'|'format'|'adapter'|'argument'|'device-lost'|'aborted'|'disposed'|'internal'} ErrorCode
 */
export class AnyLoraError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {string} [hint]
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, hint, options) {
    super(message, options);
    this.name = "AnyLoraError";
    this.code = code;
    this.hint = hint;
  }
}

/** The error of a request that was given up. */
export const aborted = () => new AnyLoraError("aborted", "stopped");

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted();
}
