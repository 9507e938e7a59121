//! Databases, observability, documents, identity, maps.

#[cfg(test)]
use super::filler::*;
use super::rules;

rules! {
    "databricks" Ahead ["dapi", "dkea", "dose"] r"(?:dapi|dkea|dose)[0-9a-f]{32}(?:-[0-9])?\b" ["da", "pi", H32] "dapi2";
    "planetscale" Ahead ["pscale_"] r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{32,}" ["psc", "ale_pw_", A36, A8] "pscale_cli";
    "supabase" Ahead ["sbp_", "sb_secret_"] r"(?:sbp_(?:oauth_|v0_)?[0-9a-f]{40}|sb_secret_[A-Za-z0-9_\-]{20,})" ["sb", "p_", H32, "3f9a1c7e"] "sbp_";
    "neon" Ahead ["napi_", "npg_"] r"(?:napi_[a-z0-9]{50,}|npg_[A-Za-z0-9]{12,})" ["na", "pi_", H32, H32] "napi_env";
    "xata" Ahead ["xau_", "xaa_"] r"xa[ua]_[A-Za-z0-9]{30,}" ["xa", "u_", A36] "xau_x";
    "mongodb-atlas" Ahead ["mdb_sa_sk_"] r"mdb_sa_sk_[A-Za-z0-9_\-]{30,}" ["md", "b_sa_sk_", A36, A8] "mdb_sa_sk_";
    "tinybird" Ahead ["p.eyJ"] r"p\.eyJ[A-Za-z0-9_\-]{20,}\.[A-Za-z0-9_\-]{20,}" ["p.", "eyJ1Ijog", A36, ".", A36] "p.eyJ";
    "dbt" Ahead ["dbtc_", "dbtu_"] r"dbt[cu]_[A-Za-z0-9_\-=]{30,}" ["db", "tc_", A36, A8] "dbtc_";
    "motherduck" Ahead ["md_token_"] r"md_token_[A-Za-z0-9]{20,}" ["md", "_token_", A24] "md_token_x";
    "new-relic" Ahead ["NRAK-", "NRAL-", "NRII-", "NRIQ-", "NRSP-"] r"NR(?:AK|AL|II|IQ|SP)-[A-Za-z0-9_\-]{24,}" ["NR", "AK-", U26, "0"] "NRAK-";
    "new-relic-licence" Around ["NRAL"] r"\b([0-9a-f]{36}NRAL|eu01xx[0-9a-f]{30}NRAL)\b" [H32, "3f9a", "NR", "AL"] "NRAL";
    "grafana" Ahead ["glsa_"] r"glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}" ["gl", "sa_", A24, A8, "_3f9a1c7e"] "glsa_";
    "grafana-cloud" Ahead ["glc_"] r"glc_[A-Za-z0-9+/=]{32,}" ["gl", "c_eyJvIjoi", A36] "glc_";
    "sentry" Ahead ["sntrys_", "sntryu_", "sntryi_", "sntrya_"] r"sntry[suia]_[A-Za-z0-9+/=_\-]{32,}" ["snt", "rys_eyJpYXQiOjE2", A36] "sntrys_";
    "datadog" Ahead ["ddapp_", "ddapi_", "ddpat_"] r"dd(?:app|api|pat)_[A-Za-z0-9]{30,}" ["dd", "app_", A36] "ddapp_x";
    "dynatrace" Ahead ["dt0c01.", "dt0s01.", "dt0s02.", "dt0s16."] r"dt0[a-z][0-9]{2}\.[A-Z0-9]{8,24}\.[A-Z0-9]{64}" ["dt", "0c01.Q7ZK2MXW4PRT6VBN3HJD5FGC.", U26, U26, "ABCDEFGH2345"] "dt0c01.";
    "honeycomb" Ahead ["hcaik_", "hcalk_", "hcxik_", "hcbik_", "hcamk_"] r"hc[abx][ilm]k_[A-Za-z0-9]{40,}" ["hc", "aik_01hq", A36, A24] "hcaik_";
    "axiom" Ahead ["xaat-", "xapt-"] r"xa[ap]t-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" ["xa", "at-3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "xaat-x";
    "posthog" Ahead ["phx_", "phs_"] r"ph[xs]_[A-Za-z0-9]{40,}" ["ph", "x_", A36, A8] "phx_x";
    "launchdarkly" Ahead ["sdk-", "api-", "mob-"] r"(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}" ["sd", "k-3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "sdk-tools";
    "statsig" Ahead ["secret-", "console-"] r"(?:secret|console)-[A-Za-z0-9]{38,}" ["sec", "ret-", A36, A8] "secret-manager";
    "pagerduty" Ahead ["pdus+_", "pdeu+_"] r"pd(?:us|eu)\+_[A-Za-z0-9_\-]{20,}" ["pd", "us+_0XBPWQQ_", A36] "pdus+_";
    "linear" Ahead ["lin_api_", "lin_oauth_", "lin_wh_"] r"lin_(?:api|oauth|wh)_[A-Za-z0-9]{32,}" ["li", "n_api_", A36, A8] "lin_api_";
    "notion" Ahead ["ntn_", "secret_"] r"(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}\b)" ["nt", "n_", A36, A8] "ntn_x";
    "airtable" Ahead ["pat"] r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}" ["pa", "tk3J9xQ0fTz8LmW.", H32, H32] "path.rs";
    "asana" Ahead ["0/1", "1/1", "2/1"] r"[0-2]/1[0-9]{14,16}(?:/[0-9]{15,17})?:[0-9a-f]{32}\b" ["1/", "1234567890123456:", H32] "1/1";
    "trello" Ahead ["ATTA"] r"ATTA[0-9a-f]{64}" ["AT", "TA", H32, H32, "3f9a1c7e"] "ATTA";
    "figma" Ahead ["figd_", "figo_", "figu_"] r"fig[dou]_[A-Za-z0-9_\-]{38,}" ["fi", "gd_", A36, A8] "figd_";
    "dropbox" Ahead ["sl."] r"sl\.(?:u\.)?[A-Za-z0-9_\-]{100,}" ["s", "l.B", A36, A36, A36] "sl.so";
    "frameio" Ahead ["fio-u-"] r"fio-u-[A-Za-z0-9_\-=]{60,}" ["fi", "o-u-", A36, A36] "fio-u-";
    "contentful" Ahead ["CFPAT-"] r"CFPAT-[A-Za-z0-9_\-]{40,}" ["CF", "PAT-", A36, A8] "CFPAT-";
    "contentstack" Ahead ["cs"] r"cs[0-9a-f]{32}\b" ["c", "s", H32] "csproj";
    "typeform" Ahead ["tfp_"] r"tfp_[A-Za-z0-9_.\-]{40,}" ["tf", "p_", A36, A24] "tfp_";
    "wix" Ahead ["IST."] r"IST\.eyJ[A-Za-z0-9._\-]{100,}" ["IS", "T.eyJraWQiOi", A36, A36, A36] "IST.";
    "mapbox" Ahead ["sk.eyJ", "tk.eyJ"] r"[st]k\.eyJ[A-Za-z0-9_\-]{20,}\.[A-Za-z0-9_\-]{20,}" ["sk", ".eyJ1Ijoi", A36, ".k3J9xQ0fTz8LmW2aVb7YpR"] "sk.eyJ";
    "maxmind" Around ["_mmk"] r"\b([A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk)\b" ["k3J9xQ_", "k3J9xQ0fTz8LmW2aVb7YpRs4Hd6Gn", "_mmk"] "a_mmk";
    "stytch" Ahead ["secret-live-", "secret-test-"] r"secret-(?:live|test)-[A-Za-z0-9_\-=]{30,}" ["sec", "ret-live-", A36] "secret-test-x";
    "onfido" Ahead ["api_live.", "api_sandbox.", "api_live_us.", "api_live_ca."] r"api_(?:live|sandbox)(?:_us|_ca)?\.[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{16,}" ["api", "_live.k3J9xQ0fTz8.", A24] "api_live.x";
    "persona" Ahead ["persona_production_", "persona_sandbox_"] r"persona_(?:production|sandbox)_[A-Za-z0-9_\-]{30,}" ["per", "sona_production_3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "persona_sandbox_x";
    "apollo" Ahead ["service:", "user:gh."] r"(?:service:[A-Za-z0-9_\-]{1,64}:[A-Za-z0-9_\-]{22}\b|user:gh\.[A-Za-z0-9_\-]{4,}:[A-Za-z0-9_\-]{22})" ["ser", "vice:my-graph:k3J9xQ0fTz8LmW2aVb7YpR"] "service:x:y";
    "rapidapi" Around ["jsn"] r"\b([0-9a-f]{10}msh[0-9a-f]{15}p1[0-9a-f]{5}jsn[0-9a-f]{12})\b" [H10, "msh", "3f9a1c7e5b2d806p13f9a1jsn", "3f9a1c7e5b2d"] "jsn";
    "crowdin" Ahead ["crowdin_"] r"crowdin_[0-9a-f]{60,}" ["crow", "din_", H32, H32] "crowdin_x";
    "transifex" Ahead ["1/"] r"1/[0-9a-f]{40}\b" ["1", "/", H32, "3f9a1c7e"] "1/2";
    "unleash" Around ["development.", "production.", "staging."] r"(?:\A|[=\s])((?:\*|default|\[\]|[a-z\-]{3,20}):(?:development|production|staging)\.[0-9a-f]{40,})" ["default:", "development.", H32, H32] "default:production.x";
    "intra42" Ahead ["s-s4t2ud-", "u-s4t2ud-", "s-s4t2af-"] r"[su]-s4t2(?:ud|af)-[0-9a-f]{64}" ["s-s4", "t2ud-", H32, H32] "s-s4t2ud-x";
    "looker" Ahead ["looker_"] r"looker_[A-Za-z0-9]{24}" ["loo", "ker_", A24] "looker_embed";
    "gitbook" Ahead ["gb_api_"] r"gb_api_[A-Za-z0-9]{30,}" ["gb", "_api_", A36] "gb_api_x";
    "coda" Ahead ["coda_"] r"coda_[0-9a-f]{8}-[0-9a-f\-]{27}" ["co", "da_3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "coda_doc";
    "wireguard" Ahead ["PrivateKey", "PresharedKey"] r"P(?:rivate|reshared)Key\s*=\s*([A-Za-z0-9+/]{42,43}=)" ["PrivateKey=", A36, "abcdefg="] "PrivateKey=x";
}
