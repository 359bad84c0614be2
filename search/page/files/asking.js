import { call } from "./api.js";
import { facts } from "./facts.js";

/** The answer to a state: hits of its page. */
export const ask = (state, signal) => call(path(state), { body: body(state), signal });

/**
 * One hit again, with more to it than its page had.
 *
 * `number`: its place in the whole ranking, from 0. `page`, `staged`: of the answer that it was in.
 */
export async function askOne(state, number, { page, staged }, more) {
  const token = page ?? state.page?.token;
  const one = { ...state, page: token ? { token, offset: number } : null };
  // Without a token: how many are ranked would go by top_k.
  const ranked = !token && staged ? { rerank_depth: staged.reranked } : {};
  const answer = await call(path(state), {
    body: { ...body(one), ...ranked, offset: number, top_k: 1, ...more },
  });
  return answer.hits[0];
}

const path = (state) => (state.similar ? "v1/similar" : "v1/search");

function body(state) {
  const candidates = Math.min(Math.max(state.candidates, state.topK), facts.limits.candidates);
  return {
    ...asked(state),
    collection: state.collection,
    method: state.method,
    ...ranked(state.weights),
    candidates,
    top_k: Math.min(state.topK, candidates - (state.page?.offset ?? 0)),
    ...(state.grouped ? { group_by: "document" } : {}),
    ...(state.filter ? { filter: state.filter } : {}),
    ...(state.must.length ? { must: state.must } : {}),
    ...(state.mustNot.length ? { must_not: state.mustNot } : {}),
    ...(state.page ? { page: state.page.token, offset: state.page.offset } : {}),
  };
}

function asked(state) {
  if (!state.similar) return { query: state.query, explain: true };
  const { id, source } = state.similar;
  // A whole document's tokens, aligned in every hit, are asked for where somebody looks.
  return { document_id: id, ...(source ? { source } : {}), explain: false };
}

function ranked(weights) {
  if (weights === "rrf") return { rank: "rrf" };
  return weights === "" ? {} : { weights };
}
