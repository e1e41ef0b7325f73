// Follows a job by server-sent events, across lost connections and server restarts.
import { ask, hasKey, Problem } from "./service.js";

const LONGEST_PAUSE_MS = 8000;
const KINDS = /** @type {const} */ (["state", "progress", "preview", "result", "error"]);

/** @typedef {(kind: typeof KINDS[number], data: any) => void} OnEvent */

/** One job's events. An EventSource resumes by Last-Event-ID itself; when it gives up, a new one is opened. */
export class Follower {
  /**
   * @param {string} jobId
   * @param {OnEvent} onEvent
   * @param {(isConnected: boolean) => void} onConnection
   */
  constructor(jobId, onEvent, onConnection) {
    this.jobId = jobId;
    this.onEvent = onEvent;
    this.onConnection = onConnection;
    this.pause = 500;
    this.isOver = false;
    /** @type {EventSource | null} */
    this.source = null;
    this.open();
  }

  stop() {
    this.isOver = true;
    this.source?.close();
  }

  async open() {
    if (this.isOver) return;
    const url = await this.address().catch((problem) => this.fail(problem));
    if (!url || this.isOver) return;
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => {
      this.pause = 500;
      this.onConnection(true);
    };
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        if (event instanceof MessageEvent && event.data) this.onEvent(kind, JSON.parse(event.data));
        else if (kind === "error") this.lost(source);
      });
    }
  }

  /** A page's EventSource cannot send a key, so a key is exchanged for a ticket. */
  async address() {
    const root = `v1/jobs/${this.jobId}`;
    if (!hasKey()) return `${root}/events`;
    const { ticket } = await (await ask(`${root}/ticket`, { method: "POST" })).json();
    return `${root}/events?ticket=${encodeURIComponent(ticket)}`;
  }

  /** @param {EventSource} source */
  lost(source) {
    if (this.isOver) return;
    this.onConnection(false);
    if (source.readyState === EventSource.CLOSED) this.look();
  }

  /** The stream was refused: the job itself says why, or that it has ended. */
  async look() {
    try {
      this.onEvent("state", await (await ask(`v1/jobs/${this.jobId}`)).json());
      this.onConnection(true);
      this.later();
    } catch (problem) {
      this.fail(/** @type {Problem} */ (problem));
    }
  }

  /** @param {Problem} problem */
  fail(problem) {
    if (problem.code === "unreachable" || problem.code === "store_unavailable" || problem.code === "rate_limited") {
      this.onConnection(false);
      this.later();
      return;
    }
    this.stop();
    this.onEvent("error", { code: problem.code, sentence: problem.message });
  }

  later() {
    setTimeout(() => this.open(), this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
  }
}
