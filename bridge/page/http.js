// Calls of the bridge by HTTP. Addresses are relative: the page may be served below any path.

import { key } from "./key.js";

export const address = (path) => new URL(path, document.baseURI);

export function socketAddress(path) {
  const url = address(path);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

// What a response says went wrong, in one sentence, whatever its shape.
export function problemOf(body, status) {
  const message = body?.error?.message ?? body?.detail;
  if (typeof message === "string" && message) return message;
  return status ? `The bridge answered with status ${status}.` : "The bridge cannot be reached.";
}

// {status, body, message}; status 0 when the bridge cannot be reached. Never throws.
export async function call(method, path) {
  try {
    const response = await fetch(address(path), { method, headers: key.headers, cache: "no-store" });
    const body = await response.json().catch(() => null);
    return { status: response.status, body, message: response.ok ? "" : problemOf(body, response.status) };
  } catch {
    return { status: 0, body: null, message: problemOf(null, 0) };
  }
}
