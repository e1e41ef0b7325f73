import type { components, operations } from "./openapi.js";

type Form = operations["createJob"]["requestBody"]["content"]["multipart/form-data"];
type Bytes = Blob | Uint8Array | ArrayBuffer;

/** A job as the service describes it. */
export type Job = components["schemas"]["JobView"];

/** How far a job is; `percent` never goes back, and is 100 only when the picture is there. */
export interface Progress {
  percent: number;
  stage: string | null;
  step?: number;
  total_steps?: number;
  eta_seconds?: number | null;
  message?: string;
}

/** Fields of `POST /v1/jobs`, except the photo. */
export interface JobFields extends Omit<Form, "image" | "image_id" | "lora" | "mask"> {
  lora?: string | string[];
  /** A picture that is white where the result replaces the photo. */
  mask?: Bytes;
}

export interface EnhanceOptions extends JobFields {
  /** Between 0 and 1. In Node it is told once, at the end. */
  onUpload?: (share: number) => void;
  onProgress?: (progress: Progress) => void;
  onPreview?: (preview: Blob) => void;
  /** Aborting it cancels the job. */
  signal?: AbortSignal;
}

export interface ServiceOptions {
  /** The service's address; in a page, its own by default. */
  url?: string | URL;
  key?: string;
  language?: "en" | "zh";
  /** For how long lost connections, 429 and 503 are tried again, in milliseconds. */
  patience?: number;
}

export class RetouchError extends Error {
  code: string;
  advice: string;
  status: number;
  retryable: boolean;
}

export class Retouch {
  constructor(options?: ServiceOptions);
  readonly url: string;
  enhance(file: Bytes, options?: EnhanceOptions): Promise<Blob>;
}

export function enhance(
  file: Bytes,
  options?: EnhanceOptions & ServiceOptions,
): Promise<Blob>;
