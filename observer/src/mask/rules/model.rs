//! Providers of language models, of agents' tools and of search.

#[cfg(test)]
use super::filler::*;
use super::rules;

rules! {
    "anthropic" Ahead ["sk-ant-"] r"sk-ant-[A-Za-z0-9_\-]{16,}" ["sk-", "ant-api03-", A36] "sk-ant-";
    "openai" Ahead ["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-None-"] r"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_\-]{20,}" ["sk-", "proj-", A36] "sk-proj-x";
    "openai" Ahead ["sk-"] r"sk-[A-Za-z0-9]{20,}" ["sk-", A24, "T3BlbkFJ", A24] "sk-learn";
    "openai-session" Ahead ["sess-"] r"sess-[A-Za-z0-9]{40}" ["sess-", A36, A8] "sess-ion";
    "openrouter" Ahead ["sk-or-"] r"sk-or-v1-[0-9a-f]{32,}" ["sk-", "or-v1-", H32, H32] "sk-or-xyz";
    "groq" Ahead ["gsk_"] r"gsk_[A-Za-z0-9]{32,}" ["gs", "k_", A36, A24] "gsk_a";
    "xai" Ahead ["xai-"] r"xai-[A-Za-z0-9]{40,}" ["xa", "i-", A36, A36] "xai-grok";
    "perplexity" Ahead ["pplx-"] r"pplx-[A-Za-z0-9]{32,}" ["pp", "lx-", A36, A8] "pplx-small";
    "replicate" Ahead ["r8_"] r"r8_[A-Za-z0-9]{30,}" ["r", "8_", A36, "A"] "r8_abc";
    "huggingface" Ahead ["hf_", "api_org_"] r"(?:hf|api_org)_[A-Za-z0-9]{30,}" ["h", "f_", A36] "hf_hub_download";
    "together" Ahead ["tgp_v1_"] r"tgp_v1_[A-Za-z0-9_\-]{40,}" ["tg", "p_v1_", A36, A8] "tgp_v1_";
    "fireworks" Ahead ["fw_"] r"fw_[A-Za-z0-9]{22,}" ["f", "w_", A24] "fw_update_ready";
    "elevenlabs" Ahead ["sk_"] r"sk_[0-9a-f]{48}\b" ["s", "k_", H32, H10, "012345"] "sk_buff";
    "nvidia" Ahead ["nvapi-"] r"nvapi-[A-Za-z0-9_\-]{50,}" ["nv", "api-", A36, A36] "nvapi-docs";
    "cerebras" Ahead ["csk-"] r"csk-[a-z0-9]{40,}" ["cs", "k-", H32, H32] "csk-x";
    "langsmith" Ahead ["lsv2_", "ls__"] r"(?:lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}|ls__[0-9a-f]{32})" ["ls", "v2_pt_", H32, "_", H10] "lsv2_";
    "langfuse" Ahead ["sk-lf-"] r"sk-lf-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" ["sk-", "lf-", "3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "sk-lf-x";
    "pinecone" Ahead ["pcsk_"] r"pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{40,}" ["pc", "sk_abcde_", A36, A24] "pcsk_";
    "tavily" Ahead ["tvly-"] r"tvly-(?:dev-|prod-)?[A-Za-z0-9]{24,}" ["tv", "ly-", A36] "tvly-x";
    "firecrawl" Ahead ["fc-"] r"fc-[0-9a-f]{32}\b" ["f", "c-", H32] "fc-list";
    "jina" Ahead ["jina_"] r"jina_[0-9a-f]{32}[A-Za-z0-9_\-]{20,}" ["ji", "na_", H32, A24] "jina_embeddings";
    "voyage" Ahead ["pa-"] r"pa-[A-Za-z0-9_\-]{43}\b" ["p", "a-", A36, A8] "pa-rental";
    "e2b" Ahead ["e2b_"] r"e2b_[0-9a-f]{40}" ["e", "2b_", H32, H10] "e2b_code_interpreter";
    "modal" Ahead ["ak-", "as-"] r"a[ks]-[A-Za-z0-9]{22}\b" ["a", "s-", "k3J9xQ0fTz8LmW2aVb7YpR"] "as-is";
    "runpod" Ahead ["rpa_"] r"rpa_[A-Z0-9]{40,}" ["rp", "a_", U26, U26] "rpa_bot";
    "anyscale" Ahead ["esecret_"] r"esecret_[A-Za-z0-9]{20,}" ["ese", "cret_", A36] "esecret_x";
    "wandb" Ahead ["wandb_v1_"] r"wandb_v1_[A-Za-z0-9_]{40,}" ["wan", "db_v1_", A36, A24] "wandb_v1_";
    "cursor" Ahead ["crsr_", "key_"] r"(?:crsr_|key_)[0-9a-f]{64}" ["cr", "sr_", H32, H32] "key_name";
    "apify" Ahead ["apify_api_"] r"apify_api_[A-Za-z0-9]{30,}" ["api", "fy_api_", A36] "apify_api_token";
    "browserbase" Ahead ["bb_live_"] r"bb_live_[A-Za-z0-9_\-]{20,}" ["bb", "_live_", A24] "bb_live_x";
    "llm-proxy" Ahead ["sk-helicone-", "pk-helicone-"] r"[sp]k-helicone-[a-z0-9\-]{20,}" ["sk-", "helicone-abcd123-", "efgh456-ijkl789-mnop012"] "sk-helicone-x";
    "llama-cloud" Ahead ["llx-"] r"llx-[A-Za-z0-9]{40,}" ["ll", "x-", A36, A24] "llx-index";
    "brave" Ahead ["BSA"] r"BSA[A-Za-z0-9_\-]{28}\b" ["BS", "A", A24, "abcd"] "BSA-1";
    "mem0" Ahead ["m0-"] r"m0-[A-Za-z0-9]{40}" ["m", "0-", A36, "abcd"] "m0-x";
    "composio" Ahead ["ak_"] r"ak_[A-Za-z0-9_\-]{20}\b" ["a", "k_", "k3J9xQ0fTz8LmW2aVb7Y"] "ak_x";
    "exa-unkey" Ahead ["unkey_"] r"unkey_[A-Za-z0-9]{20,}" ["unk", "ey_", A24] "unkey_api";
    "trigger-dev" Ahead ["tr_prod_", "tr_dev_", "tr_stg_"] r"tr_(?:prod|dev|stg)_[A-Za-z0-9]{20,}" ["tr", "_prod_", A24] "tr_dev_mode";
    "inngest" Ahead ["signkey-"] r"signkey-[a-z]+-[0-9a-f]{32,}" ["sign", "key-prod-", H32] "signkey-prod";
    "smithery" Ahead ["sm_aat_", "smt_"] r"(?:sm_aat_|smt_)[A-Za-z0-9]{16,}" ["sm", "_aat_", A24] "smt_x";
    "daytona" Ahead ["dtn_"] r"dtn_[0-9a-f]{64}" ["dt", "n_", H32, H32] "dtn_x";
    "mixedbread" Ahead ["emb_"] r"emb_[0-9a-f]{48}" ["em", "b_", H32, H10, "012345"] "emb_dim";
    "livekit-secret" Ahead ["lk_"] r"lk_[A-Za-z0-9]{40,}" ["l", "k_", A36, A8] "lk_room";
}
