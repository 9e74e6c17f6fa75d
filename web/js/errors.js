/**
 * What goes wrong, for programs (`code`) and for people (`message`, and `hint`: what to do).
 *
 * @typedef {'no-webgpu'|'limits'|'network'|'integrity'|'format'|'adapter'|'request'|'device-lost'|'memory'|'aborted'|'internal'} ErrorCode
 */
export class AnyLoraError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message
   * @param {{hint?: string, cause?: unknown}} [more]
   */
  constructor(code, message, { hint, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'AnyLoraError';
    this.code = code;
    this.hint = hint;
  }
}

/** The error of a request that was given up. */
export const aborted = () => new AnyLoraError('aborted', 'stopped');

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted();
}
