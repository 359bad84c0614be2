import { key } from "./access.js";

/** An error as the API tells it (RFC 9457); `status` 0 where nothing answered. */
export class Problem extends Error {
  constructor({ status, code = "", detail, request_id: request = "" }) {
    super(detail);
    Object.assign(this, { status, code, request });
  }
}

/**
 * JSON from the API; a `body` is posted.
 *
 * Throws a Problem, or what `signal` was aborted with.
 */
export async function call(path, { body, signal } = {}) {
  const answer = await reach(path, {
    method: body === undefined ? "GET" : "POST",
    headers: headers(body),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
    signal,
  });
  if (!answer.ok) throw new Problem(await told(answer));
  return answer.json();
}

async function reach(path, request) {
  try {
    return await fetch(new URL(path, document.baseURI), request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    const detail = `the search API at ${location.host} does not answer: see that it runs`;
    throw new Problem({ status: 0, code: "unreachable", detail });
  }
}

function headers(body) {
  const secret = key.get();
  return {
    ...(body === undefined ? {} : { "Content-Type": "application/json" }),
    ...(secret === null ? {} : { Authorization: `Bearer ${secret}` }),
  };
}

async function told(answer) {
  const detail = `status ${answer.status}, without a reason: what stands before the API may know`;
  try {
    return { detail, ...(await answer.json()), status: answer.status };
  } catch {
    return { detail, status: answer.status };
  }
}
