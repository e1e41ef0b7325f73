// Made by `make client-types` from the service's OpenAPI document, c75ce2ce3cc1d1b4

export interface paths {
    "/v1/jobs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post: operations["createJob"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/jobs/{job_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get: operations["getJob"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @enum {string} */
        DeliveryState: "waiting" | "delivered" | "given_up";
        ErrorView: {
            advice: string;
            code: string;
            flags: string[];
            loras: string[];
            message: string;
            retryable: boolean;
        };
        /** @enum {string} */
        JobState: "queued" | "running" | "succeeded" | "failed" | "canceled";
        JobView: {
            attempt: number;
            base: string;
            /** Format: date-time */
            created_at: string;
            degraded: components["schemas"]["NoticeView"][];
            error: components["schemas"]["ErrorView"] | null;
            /** Format: date-time */
            expires_at: string;
            finished_at: string | null;
            id: string;
            links: components["schemas"]["LinksView"];
            mask: components["schemas"]["MaskView"] | null;
            params: components["schemas"]["ParamsView"];
            progress: components["schemas"]["ProgressView"];
            queue: components["schemas"]["QueueView"];
            result: components["schemas"]["ResultView"] | null;
            source: components["schemas"]["SourceView"];
            stage: components["schemas"]["Stage"] | null;
            started_at: string | null;
            state: components["schemas"]["JobState"];
            timings: components["schemas"]["Timings"];
            webhook: components["schemas"]["WebhookView"] | null;
            worker: string | null;
        };
        LinksView: {
            cancel: string;
            events: string;
            image: string;
            preview: string;
            self: string;
            socket: string;
            source: string;
        };
        /** @enum {string} */
        LoraMode: "auto" | "none" | "named";
        LoraRef: {
            name: string;
            scale?: number;
            sha256?: string | null;
        };
        MaskView: {
            height: number;
            width: number;
        };
        NoticeView: {
            code: string;
            message: string;
        };
        ParamsView: {
            deterministic: boolean;
            embed_metadata: boolean;
            executed_steps: number;
            fidelity: ("none" | "low" | "residual" | "wavelet" | "adain") | null;
            force: boolean;
            /** @enum {string} */
            format: "auto" | "png" | "jpeg" | "webp";
            guidance_scale: number | null;
            lora_mode: components["schemas"]["LoraMode"];
            lora_reason: string | null;
            loras: components["schemas"]["LoraRef"][];
            max_side: number | null;
            /** @enum {string} */
            metadata: "none" | "keep";
            negative_prompt: string | null;
            pixel_scale: number | null;
            preview: boolean;
            /** @enum {string} */
            priority: "interactive" | "batch";
            prompt: string | null;
            pyramid: number | null;
            quality: number;
            result_url: string | null;
            sampler: ("dpmpp_2m" | "euler" | "lcm" | "tcd" | "once") | null;
            sampler_reason: string | null;
            seed: number | null;
            semantic_scale: number | null;
            steps: number;
            strength: number | null;
            timestep: number | null;
            trigger_words: boolean;
            /** @enum {unknown} */
            upscale: "auto" | 1 | 2 | 3 | 4;
            upscale_reason: string | null;
            upscaler: string;
            webhook_events: ("job.succeeded" | "job.failed" | "job.canceled")[];
            webhook_url: string | null;
        };
        ProgressView: {
            eta_seconds: number | null;
            message: string;
            percent: number;
            step: number;
            total_steps: number;
        };
        QueueView: {
            position: number;
            size: number;
        };
        ResultView: {
            /** @enum {string} */
            format: "png" | "jpeg" | "webp";
            height: number;
            ran_by: {
                [key: string]: string;
            };
            safety: components["schemas"]["SafetyView"];
            sha256: string;
            size_bytes: number;
            upscale: number;
            upscaler: string | null;
            width: number;
        };
        SafetyView: {
            flags: string[];
            nsfw: number | null;
            warnings: components["schemas"]["NoticeView"][];
        };
        SourceView: {
            format: string;
            has_alpha: boolean;
            height: number;
            warnings: components["schemas"]["NoticeView"][];
            width: number;
        };
        /** @enum {string} */
        Stage: "loading" | "encoding" | "denoising" | "decoding" | "checking" | "saving";
        Timings: {
            checking_seconds?: number;
            decoding_seconds?: number;
            denoising_seconds?: number;
            encoding_seconds?: number;
            enlarging_seconds?: number;
            loading_seconds?: number;
            preview_seconds?: number;
            queued_seconds?: number;
            saving_seconds?: number;
            total_seconds?: number;
        };
        WebhookView: {
            attempts: number;
            reason: components["schemas"]["NoticeView"] | null;
            state: components["schemas"]["DeliveryState"];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type SchemaDeliveryState = components['schemas']['DeliveryState'];
export type SchemaErrorView = components['schemas']['ErrorView'];
export type SchemaJobState = components['schemas']['JobState'];
export type SchemaJobView = components['schemas']['JobView'];
export type SchemaLinksView = components['schemas']['LinksView'];
export type SchemaLoraMode = components['schemas']['LoraMode'];
export type SchemaLoraRef = components['schemas']['LoraRef'];
export type SchemaMaskView = components['schemas']['MaskView'];
export type SchemaNoticeView = components['schemas']['NoticeView'];
export type SchemaParamsView = components['schemas']['ParamsView'];
export type SchemaProgressView = components['schemas']['ProgressView'];
export type SchemaQueueView = components['schemas']['QueueView'];
export type SchemaResultView = components['schemas']['ResultView'];
export type SchemaSafetyView = components['schemas']['SafetyView'];
export type SchemaSourceView = components['schemas']['SourceView'];
export type SchemaStage = components['schemas']['Stage'];
export type SchemaTimings = components['schemas']['Timings'];
export type SchemaWebhookView = components['schemas']['WebhookView'];
export type $defs = Record<string, never>;
export interface operations {
    createJob: {
        parameters: {
            query?: never;
            header?: {
                "idempotency-key"?: string | null;
                prefer?: string | null;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "multipart/form-data": {
                    /**
                     * Base
                     * @description A base that GET /v1/capabilities lists: its id, its checkpoint's name or its family. Default: a base for which the LoRAs were made, the deployment's own first.
                     */
                    base?: string;
                    /**
                     * Deterministic
                     * @description Share no step with other jobs, so that a repeated job gives equal pixels whatever else the same worker does; slower on a busy worker.
                     * @default false
                     */
                    deterministic?: boolean;
                    /**
                     * Embed Metadata
                     * @description Write the parameters into the file.
                     * @default false
                     */
                    embed_metadata?: boolean;
                    /**
                     * Fidelity
                     * @description How much of the photo's own detail is kept: none, low (its tones), residual (all that the autoencoder loses), wavelet (its low frequencies), adain (every colour's mean and contrast); default: the LoRA's own.
                     * @enum {string}
                     */
                    fidelity?: "none" | "low" | "residual" | "wavelet" | "adain";
                    /**
                     * Force
                     * @description Continue even if the input's quality would be refused.
                     * @default false
                     */
                    force?: boolean;
                    /**
                     * Format
                     * @description auto: by the photo's format. JPEG and HEIC give JPEG, PNG and pictures with transparency give PNG, others WebP. If a format cannot hold the longer side (WebP 16,383 pixels, JPEG 65,500), the result has another one, and `degraded` says so.
                     * @default auto
                     * @enum {string}
                     */
                    format?: "auto" | "png" | "jpeg" | "webp";
                    /**
                     * Guidance Scale
                     * @description How closely the prompt is followed; default: the LoRA's own, else the base's.
                     */
                    guidance_scale?: number;
                    /**
                     * Format: binary
                     * @description PNG, JPEG, WebP, HEIC, AVIF, TIFF, BMP or a still GIF; 50 MiB and 50 megapixels by default.
                     */
                    image?: string;
                    /** @description Id of an earlier upload, instead of `image`. */
                    image_id?: string;
                    /** @description A public https:// address at which the picture is fetched, instead of `image`; off unless the deployment allows it. */
                    image_url?: string;
                    /**
                     * @description `name` or `name:scale`, repeatable, within the limits of GET /v1/capabilities; `none`: the base alone; `auto`: chosen by the measured damage.
                     * @default [
                     *       "auto"
                     *     ]
                     * @example [
                     *       "face_restore:0.8"
                     *     ]
                     */
                    lora?: string[];
                    /**
                     * Format: binary
                     * @description A picture of any size, scaled to the photo's: the result replaces the photo where it is white, with a feathered edge; where it is black the photo stays as it is. Of a mask with transparent parts, the painted parts count as white.
                     */
                    mask?: string;
                    /**
                     * Max Side
                     * @description Longer side of the result, in pixels; default: the photo's own, enlarged.
                     */
                    max_side?: number;
                    /**
                     * Metadata
                     * @description keep: the photo's date, author, copyright and resolution are copied to the result; its place and device never are.
                     * @default none
                     * @enum {string}
                     */
                    metadata?: "none" | "keep";
                    /**
                     * Negative Prompt
                     * @description Default: the LoRA's own.
                     */
                    negative_prompt?: string;
                    /**
                     * Pixel Scale
                     * @description For a LoRA with a part for fidelity and a part for detail (PiSA-SR): the first part's share of `strength`; default 1. With another LoRA it has no effect, and `degraded` says so.
                     */
                    pixel_scale?: number;
                    /**
                     * Preview
                     * @description Send a small result first, as a preview.
                     * @default true
                     */
                    preview?: boolean;
                    /**
                     * Priority
                     * @description Interactive jobs go before batch ones.
                     * @default interactive
                     * @enum {string}
                     */
                    priority?: "interactive" | "batch";
                    /**
                     * Prompt
                     * @description Default: the LoRA's own. `<lora:NAME:SCALE>` in it counts as a LoRA.
                     */
                    prompt?: string;
                    /**
                     * Pyramid
                     * @description At how many sizes the photo is treated, each twice the last: 2 and 3 begin at half and a quarter, where coarse noise is fine and heavy blur is little; default: as `auto` chooses, else 1.
                     */
                    pyramid?: number;
                    /**
                     * Quality
                     * @description For jpeg and webp.
                     * @default 92
                     */
                    quality?: number;
                    /**
                     * Result Url
                     * @description A public https:// address, such as a presigned one, to which the finished picture is sent by PUT, repeated like a webhook; `webhook` shows the outcome.
                     */
                    result_url?: string;
                    /**
                     * Sampler
                     * @description The sampler; default: the LoRA's own, else dpmpp_2m. once: one prediction without noise, for models made for that; strength is then the share of the change that is applied.
                     * @enum {string}
                     */
                    sampler?: "dpmpp_2m" | "euler" | "lcm" | "tcd" | "once";
                    /**
                     * Seed
                     * @description The same seed and parameters give the same picture; default: random.
                     */
                    seed?: number;
                    /**
                     * Semantic Scale
                     * @description The same for the part for detail; default 1.
                     */
                    semantic_scale?: number;
                    /**
                     * Steps
                     * @description Denoising steps; max(1, min(int(steps * strength), steps)) of them are executed.
                     */
                    steps?: number;
                    /**
                     * Strength
                     * @description How much the picture may change; default: the LoRA's own, else 0.4.
                     */
                    strength?: number;
                    /**
                     * Timestep
                     * @description For the sampler once: the noise level that the model is given; default: the LoRA's own, else 200.
                     */
                    timestep?: number;
                    /**
                     * Trigger Words
                     * @description Add the LoRAs' trigger words to the prompt if they are missing.
                     * @default true
                     */
                    trigger_words?: boolean;
                    /**
                     * Upscale
                     * @description Factor of enlargement; `auto`: 1 for a photo whose long side is 1,024 or more, otherwise 2 or 4, the smallest that reaches 1,024, as far as the limits allow.
                     * @default auto
                     * @enum {unknown}
                     */
                    upscale?: "auto" | 1 | 2 | 3 | 4;
                    /**
                     * Upscaler
                     * @description Name of an enlarger from GET /v1/upscalers, `lanczos` for a plain filter, `auto`.
                     * @default auto
                     */
                    upscaler?: string;
                    /**
                     * Webhook Events
                     * @description Which ends it is sent for: repeated, or separated by commas.
                     * @default [
                     *       "job.succeeded",
                     *       "job.failed",
                     *       "job.canceled"
                     *     ]
                     */
                    webhook_events?: ("job.succeeded" | "job.failed" | "job.canceled")[];
                    /**
                     * Webhook Url
                     * @description A public https:// address that gets a message when the job ends, signed as Standard Webhooks defines it.
                     */
                    webhook_url?: string;
                };
            };
        };
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobView"];
                };
            };
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobView"];
                };
            };
        };
    };
    getJob: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                job_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["JobView"];
                };
            };
        };
    };
}
