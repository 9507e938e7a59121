//! The providers' tokens, as data: each kind with an example that a test runs, and one that it
//! must leave alone.

/// A kind of token.
pub(super) struct Rule {
    /// Its sort, as tokens and records name it.
    pub(super) sort: &'static str,
    /// Texts of which one must be there before the expression is tried, in any case.
    pub(super) keywords: &'static [&'static str],
    /// What it looks like; the first group, where there is one, is the secret.
    pub(super) regex: &'static str,
    /// Something that it finds. Written in two halves, so that scanners leave this file alone.
    #[cfg(test)]
    pub(super) example: &'static str,
    /// Something alike that it must not.
    #[cfg(test)]
    pub(super) other: &'static str,
}

macro_rules! rules {
    ($($sort:literal [$($keyword:literal),+] $regex:literal $example:expr, $other:literal;)*) => {
        /// All of them.
        pub(super) const RULES: &[Rule] = &[$(Rule {
            sort: $sort,
            keywords: &[$($keyword),+],
            regex: $regex,
            #[cfg(test)]
            example: $example,
            #[cfg(test)]
            other: $other,
        }),*];
    };
}

rules! {
    "github" ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"] r"\b(gh[pousr]_[A-Za-z0-9]{16,255})" concat!("gh", "p_0123456789abcdefABCDEF0123456789abcd"), "ghp_short";
    "github" ["github_pat_"] r"\b(github_pat_[A-Za-z0-9_]{20,255})" concat!("github", "_pat_11ABCDEFG0123456789_abcdefghijklmnopqrstuvwxyz"), "github_pat_";
    "gitlab" ["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glimt-", "glagent-"] r"\b(gl(?:pat|dt|rt|cbt|ptt|ft|soat|imt|agent)-[A-Za-z0-9_\-]{16,255})" concat!("gl", "pat-ABCDEFGHIJ0123456789"), "glpat-x";
    "aws-key-id" ["AKIA", "ASIA", "ABIA", "ACCA"] r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b" concat!("AK", "IAIOSFODNN7EXAMPLE"), "AKIAlowercase0000000";
    "anthropic" ["sk-ant-"] r"\b(sk-ant-[A-Za-z0-9_\-]{16,255})" concat!("sk-", "ant-api03-abcdefghijklmnopqrstuvwxyz0123"), "sk-ant-";
    "openai" ["sk-"] r"\b(sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_\-]{20,255})" concat!("sk-", "proj-abcdefghijklmnopqrstuvwxyz012345"), "sk-learn";
    "openrouter" ["sk-or-"] r"\b(sk-or-v1-[0-9a-f]{64})" concat!("sk-", "or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), "sk-or-v1-xyz";
    "groq" ["gsk_"] r"\b(gsk_[A-Za-z0-9]{32,80})" concat!("gs", "k_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"), "gsk_a";
    "xai" ["xai-"] r"\b(xai-[A-Za-z0-9]{40,120})" concat!("xa", "i-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"), "xai-grok";
    "perplexity" ["pplx-"] r"\b(pplx-[A-Za-z0-9]{32,80})" concat!("pp", "lx-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL"), "pplx-small";
    "replicate" ["r8_"] r"\b(r8_[A-Za-z0-9]{37})" concat!("r", "8_0123456789abcdefghijklmnopqrstuvwxyzA"), "r8_abc";
    "huggingface" ["hf_", "api_org_"] r"\b((?:hf|api_org)_[A-Za-z]{30,64})" concat!("h", "f_abcdefghijklmnopqrstuvwxyzABCDEFGH"), "hf_hub_download";
    "slack" ["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xoxe.", "xoxc-", "xoxd-"] r"\b(xox[abceoprsd][-.][A-Za-z0-9%.\-]{10,255})" concat!("xo", "xb-123456789012-abcdefghijkl"), "xoxb";
    "slack" ["xapp-"] r"\b(xapp-\d-[A-Za-z0-9\-]{16,255})" concat!("xa", "pp-1-A0123456789-abcdef0123456789"), "xapp-1";
    "slack-webhook" ["hooks.slack.com"] r"hooks\.slack\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_\-]{20,255})" concat!("https://hooks.slack.com/services/", "T00000000/B00000000/abcdefghijklmnopqrstuvwx"), "hooks.slack.com/docs";
    "discord-webhook" ["discord"] r"discord(?:app)?\.com/api/webhooks/(\d{17,20}/[A-Za-z0-9_\-]{60,100})" concat!("https://discord.com/api/webhooks/", "123456789012345678/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-abcd"), "discord.com/api/v10";
    "stripe" ["sk_live_", "sk_test_", "rk_live_", "rk_test_"] r"\b([sr]k_(?:live|test)_[A-Za-z0-9]{10,255})" concat!("sk", "_live_0123456789abcdefghijklmn"), "sk_live_";
    "stripe-webhook" ["whsec_"] r"\b(whsec_[A-Za-z0-9+/]{20,255})" concat!("wh", "sec_0123456789abcdefghijklmnopqrstuv"), "whsec_a";
    "google-api" ["AIza"] r"\b(AIza[A-Za-z0-9_\-]{35})" concat!("AI", "zaSyA0123456789abcdefghijklmnopqrstuv"), "AIza";
    "google-oauth" ["ya29."] r"\b(ya29\.[A-Za-z0-9_\-]{20,1024})" concat!("ya", "29.a0AfH6SMBabcdefghijklmnopqrstuvwxyz"), "ya29.";
    "google-oauth" ["GOCSPX-"] r"\b(GOCSPX-[A-Za-z0-9_\-]{20,64})" concat!("GOC", "SPX-abcdefghijklmnopqrstuvwxyz01"), "GOCSPX-";
    "npm" ["npm_"] r"\b(npm_[A-Za-z0-9]{30,64})" concat!("np", "m_0123456789abcdefghijklmnopqrstuvwxyz"), "npm_config_cache";
    "pypi" ["pypi-"] r"\b(pypi-[A-Za-z0-9_\-]{50,1024})" concat!("py", "pi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA"), "pypi-server";
    "rubygems" ["rubygems_"] r"\b(rubygems_[0-9a-f]{48})" concat!("ruby", "gems_0123456789abcdef0123456789abcdef0123456789abcdef"), "rubygems_version";
    "crates-io" ["cio"] r"\b(cio[A-Za-z0-9]{32})\b" concat!("ci", "o0123456789abcdefghijklmnopqrstuv"), "cio";
    "docker" ["dckr_pat_", "dckr_oat_"] r"\b(dckr_[po]at_[A-Za-z0-9_\-]{20,64})" concat!("dck", "r_pat_abcdefghijklmnopqrstuvwxyz0"), "dckr_pat_";
    "digitalocean" ["dop_v1_", "doo_v1_", "dor_v1_"] r"\b(do[opr]_v1_[0-9a-f]{64})" concat!("do", "p_v1_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), "dop_v1_";
    "doppler" ["dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."] r"\b(dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._\-]{30,128})" concat!("d", "p.pt.0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"), "dp.pt.";
    "databricks" ["dapi"] r"\b(dapi[0-9a-f]{32}(?:-\d)?)\b" concat!("da", "pi0123456789abcdef0123456789abcdef"), "dapi2";
    "sendgrid" ["SG."] r"\b(SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{32,64})" concat!("S", "G.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"), "SG.abc";
    "twilio" ["SK"] r"\b(SK[0-9a-f]{32})\b" concat!("S", "K0123456789abcdef0123456789abcdef"), "SKU0123";
    "mailgun" ["key-", "pubkey-"] r"\b((?:pub)?key-[0-9a-f]{32})\b" concat!("ke", "y-0123456789abcdef0123456789abcdef"), "key-value";
    "mailchimp" ["-us"] r"\b([0-9a-f]{32}-us\d{1,2})\b" concat!("0123456789abcdef0123456789abcdef", "-us12"), "en-us";
    "telegram" ["AA"] r"\b(\d{8,10}:AA[A-Za-z0-9_\-]{32,34})" concat!("123456789", ":AAabcdefghijklmnopqrstuvwxyz0123456"), "12:AA";
    "shopify" ["shpat_", "shpca_", "shppa_", "shpss_"] r"\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})" concat!("shp", "at_0123456789abcdef0123456789abcdef"), "shpat_x";
    "square" ["sq0atp-", "sq0csp-", "EAAA"] r"\b(sq0(?:atp|csp)-[A-Za-z0-9_\-]{22,43}|EAAA[A-Za-z0-9_\-]{60})" concat!("sq0", "atp-abcdefghijklmnopqrstuv"), "sq0atp-";
    "new-relic" ["NRAK-", "NRAL-", "NRII-"] r"\b(NR(?:AK|AL|II)-[A-Za-z0-9_\-]{24,40})" concat!("NR", "AK-ABCDEFGHIJKLMNOPQRSTUVWXYZ0"), "NRAK-";
    "grafana" ["glsa_", "glc_"] r"\b(glsa_[A-Za-z0-9]{32}_[0-9a-fA-F]{8}|glc_[A-Za-z0-9+/=]{32,400})" concat!("gl", "sa_0123456789abcdefghijklmnopqrstuv_01234567"), "glc_";
    "sentry" ["sntrys_", "sntryu_"] r"\b(sntry[su]_[A-Za-z0-9+/=_\-]{32,400})" concat!("snt", "rys_eyJpYXQiOjE2OTAwMDAwMDAuMCwidXJsIjoi"), "sntrys_";
    "linear" ["lin_api_", "lin_oauth_"] r"\b(lin_(?:api|oauth)_[A-Za-z0-9]{32,64})" concat!("li", "n_api_0123456789abcdefghijklmnopqrstuvwxyzABCD"), "lin_api_";
    "notion" ["ntn_", "secret_"] r"\b(ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{43})\b" concat!("nt", "n_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"), "ntn_x";
    "airtable" ["pat"] r"\b(pat[A-Za-z0-9]{14}\.[0-9a-f]{64})" concat!("pa", "tABCDEFGHIJKLMN.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), "path.rs";
    "asana" ["/"] r"\b([12]/\d{15,17}(?:/\d{15,17})?:[0-9a-f]{32})\b" concat!("1/", "1234567890123456:0123456789abcdef0123456789abcdef"), "1/2";
    "atlassian" ["ATATT3", "ATCTT3", "ATBB"] r"\b(AT[AC]TT3[A-Za-z0-9_\-=]{50,400}|ATBB[A-Za-z0-9]{32})" concat!("AT", "ATT3xFfGF0abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOP"), "ATATT3";
    "figma" ["figd_", "figo_"] r"\b(fig[do]_[A-Za-z0-9_\-]{38,60})" concat!("fi", "gd_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"), "figd_";
    "dropbox" ["sl."] r"\b(sl\.(?:u\.)?[A-Za-z0-9_\-]{120,1500})" concat!("s", "l.Babcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "sl.so";
    "vault" ["hvs.", "hvb.", "hvr."] r"\b(hv[sbr]\.[A-Za-z0-9_\-]{24,400})" concat!("hv", "s.CAESIabcdefghijklmnopqrstuvwxyz0123"), "hvs.x";
    "terraform" [".atlasv1."] r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_\-=]{60,90})" concat!("abcdefghijklmn", ".atlasv1.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234"), "a.atlasv1.b";
    "pulumi" ["pul-"] r"\b(pul-[0-9a-f]{40})\b" concat!("pu", "l-0123456789abcdef0123456789abcdef01234567"), "pul-x";
    "flyio" ["fo1_", "fm1", "FlyV1"] r"(fo1_[A-Za-z0-9_\-]{40,64}|fm[12][ar]?_[A-Za-z0-9+/=_\-]{100,1500})" concat!("fo", "1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"), "fo1_";
    "netlify" ["nfp_", "nfc_"] r"\b(nf[pco]_[A-Za-z0-9]{36,60})" concat!("nf", "p_0123456789abcdefghijklmnopqrstuvwxyzABCD"), "nfp_";
    "supabase" ["sbp_", "sb_secret_"] r"\b(sbp_[0-9a-f]{40}|sb_secret_[A-Za-z0-9_\-]{20,64})" concat!("sb", "p_0123456789abcdef0123456789abcdef01234567"), "sbp_";
    "planetscale" ["pscale_"] r"\b(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.\-]{32,64})" concat!("psc", "ale_pw_0123456789abcdefghijklmnopqrstuvwxyzABC"), "pscale_cli";
    "postman" ["PMAK-"] r"\b(PMAK-[0-9a-f]{24}-[0-9a-f]{34})" concat!("PM", "AK-0123456789abcdef01234567-0123456789abcdef0123456789abcdef01"), "PMAK-";
    "dynatrace" ["dt0c01."] r"\b(dt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64})" concat!("dt", "0c01.ABCDEFGHIJKLMNOPQRSTUVWX.ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), "dt0c01.";
    "easypost" ["EZAK", "EZTK"] r"\b(EZ[AT]K[A-Za-z0-9]{54})" concat!("EZ", "AK0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR"), "EZAK";
    "frameio" ["fio-u-"] r"\b(fio-u-[A-Za-z0-9_\-=]{60,70})" concat!("fi", "o-u-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"), "fio-u-";
    "contentful" ["CFPAT-"] r"\b(CFPAT-[A-Za-z0-9_\-]{40,64})" concat!("CF", "PAT-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"), "CFPAT-";
    "typeform" ["tfp_"] r"\b(tfp_[A-Za-z0-9_.\-]{40,64})" concat!("tf", "p_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"), "tfp_";
    "artifactory" ["AKCp"] r"\b(AKCp[A-Za-z0-9]{60,80})" concat!("AK", "Cp0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"), "AKCp";
    "azure" ["AccountKey", "SharedAccessKey", "SharedAccessSignature"] r"(?i)(?:AccountKey|SharedAccessKey)\s*=\s*([A-Za-z0-9+/=]{40,100})" concat!("AccountKey=", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP=="), "AccountKey=x";
    "azure-sas" ["sig="] r"[?&]sig=([A-Za-z0-9%+/=]{30,120})" concat!("https://x.blob.core.windows.net/c?sv=2020&sig=", "0123456789abcdefghijklmnopqrstuvwxyz%3D"), "?sig=a";
    "azure-ad" ["Q~"] r"\b([A-Za-z0-9_.~\-]{3}[78]Q~[A-Za-z0-9_.~\-]{31,34})" concat!("abc8", "Q~0123456789abcdefghijklmnopqrstuvwxy"), "Q~";
    "pinecone" ["pcsk_"] r"\b(pcsk_[A-Za-z0-9]{4,8}_[A-Za-z0-9]{40,80})" concat!("pc", "sk_abcde_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"), "pcsk_";
    "langsmith" ["lsv2_"] r"\b(lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10})" concat!("ls", "v2_pt_0123456789abcdef0123456789abcdef_0123456789"), "lsv2_";
    "tailscale" ["tskey-"] r"\b(tskey-[a-z]+-[A-Za-z0-9]{8,24}-[A-Za-z0-9]{16,64})" concat!("ts", "key-auth-kabcdefCNTRL-0123456789abcdefghij"), "tskey-auth";
    "age" ["AGE-SECRET-KEY-1"] r"\b(AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58})" concat!("AGE-SECRET-", "KEY-1QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE"), "AGE-SECRET-KEY-1";
    "jwt" ["eyJ"] r"\b(eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?)" concat!("ey", "JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlc2lnbmF0dXJl"), "eyJ.a";
    "private-key" ["-----BEGIN"] r"(?s)(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z))" concat!("-----BEGIN RSA ", "PRIVATE KEY-----\nMIIEabc"), "-----BEGIN CERTIFICATE-----";
}
