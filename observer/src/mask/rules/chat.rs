//! Messages, mail, social networks.

#[cfg(test)]
use super::filler::*;
use super::rules;

rules! {
    "slack" Ahead ["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxc-", "xoxd-"] r"xox[abcoprsd]-[A-Za-z0-9%.\-]{10,}" ["xo", "xb-123456789012-", A24] "xoxb";
    "slack-config" Ahead ["xoxe-", "xoxe."] r"xoxe[.\-][A-Za-z0-9%.\-]{20,}" ["xo", "xe.xoxp-1-", A36, A36] "xoxe.";
    "slack-app" Ahead ["xapp-", "xwfp-"] r"x(?:app|wfp)-[A-Za-z0-9\-]{16,}" ["xa", "pp-1-A0123456789-1234567890123-", H32] "xapp-1";
    "slack-webhook" Ahead ["hooks.slack.com"] r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/([A-Za-z0-9+/_\-]{20,})" ["https://hooks.slack.com/services/", "T00000000/B00000000/", A24] "hooks.slack.com/docs";
    "discord" Around ["MT", "Mj", "Mz", "ND", "NT", "Nj", "Nz", "OD", "OT"] r"\b([MNO][A-Za-z0-9_\-]{23,27}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,45})\b" ["MTk4NjIyNDgzNDcxOTI1MjQ4", ".Cl2FMQ.", A36] "Module.Nested.Other";
    "discord-webhook" Ahead ["discord.com/api/webhooks/", "discordapp.com/api/webhooks/"] r"discord(?:app)?\.com/api/webhooks/([0-9]{17,20}/[A-Za-z0-9_\-]{60,})" ["https://discord.com/api/webhooks/", "123456789012345678/", A36, A36] "discord.com/api/v10";
    "telegram" Around [":AA"] r"\b([0-9]{8,10}:AA[A-Za-z0-9_\-]{32,})" ["1234567", "89:AA", A24, "abcdefghi"] "12:AA";
    "twilio" Ahead ["SK"] r"SK[0-9a-f]{32}\b" ["S", "K", H32] "SKU0123";
    "sendgrid" Ahead ["SG."] r"SG\.[A-Za-z0-9_\-]{16,32}\.[A-Za-z0-9_\-]{32,}" ["S", "G.k3J9xQ0fTz8LmW2aVb7YpR.", A36, A8] "SG.abc";
    "mailgun" Ahead ["key-"] r"key-[0-9a-f]{32}\b" ["ke", "y-", H32] "key-value";
    "mailchimp" Around ["-us"] r"\b([0-9a-f]{32}-us[0-9]{1,2})\b" [H32, "-us12"] "en-us";
    "mandrill" Ahead ["md-"] r"md-[A-Za-z0-9_\-]{22}\b" ["m", "d-k3J9xQ0fTz8LmW2aVb7YpR"] "md-card";
    "brevo" Ahead ["xkeysib-", "xsmtpsib-"] r"x(?:key|smtp)sib-[0-9a-f]{64}-[A-Za-z0-9]{16}" ["xkey", "sib-", H32, H32, "-k3J9xQ0fTz8LmW2a"] "xkeysib-x";
    "resend" Ahead ["re_"] r"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}" ["r", "e_k3J9xQ0f_", A24] "re_compile_everything_again";
    "intercom" Ahead ["dG9r"] r"dG9r[A-Za-z0-9+/=]{50,}" ["dG", "9rOjNmOWExYzdlX2", A36, A24] "dG9r";
    "hubspot" Ahead ["pat-na", "pat-eu"] r"pat-(?:na|eu)[0-9]-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" ["pa", "t-na1-3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "pat-na1-x";
    "matrix" Ahead ["syt_", "syr_", "mat_", "mct_"] r"(?:sy[tr]_[A-Za-z0-9+/=]+_[A-Za-z0-9]{20}_[A-Za-z0-9]{6}|m[ac]t_[A-Za-z0-9]{30,})" ["sy", "t_YWxpY2U_k3J9xQ0fTz8LmW2aVb7Y_1AbCdE"] "syt_x";
    "onesignal" Ahead ["os_v2_app_", "os_v2_org_"] r"os_v2_(?:app|org)_[a-z0-9]{90,}" ["os", "_v2_app_", H32, H32, H32, H10] "os_v2_app_";
    "twitter-bearer" Ahead ["AAAAAAAAAAAAAAAAAAAAA"] r"A{21,22}[A-Za-z0-9%]{60,}" ["AAAAAAAAAAAAAAAAAAAAA", "k3J9xQ0f%2B", A36, A36] "AAAAAAAAAAAAAAAAAAAAAAAA";
    "facebook" Ahead ["EAAC", "EAAB", "EAAG", "EAAJ", "EAAM"] r"EAA[CBGJM][A-Za-z0-9]{60,}" ["EA", "ACEdEose0cBA", A36, A36] "EAAC";
    "instagram" Ahead ["IGQV", "IGAA"] r"IG(?:QV|AA)[A-Za-z0-9_\-]{60,}" ["IG", "QVJ", A36, A36] "IGQV";
    "linkedin" Ahead ["WPL_AP1."] r"WPL_AP1\.[A-Za-z0-9]{16}\.[A-Za-z0-9+/=]{8}" ["WPL", "_AP1.k3J9xQ0fTz8LmW2a.k3J9xQ0f"] "WPL_AP1.";
    "pinterest" Ahead ["pina_"] r"pina_[A-Z0-9]{60,}" ["pi", "na_", U26, U26, U26] "pina_colada";
    "twitch" Ahead ["oauth:"] r"oauth:([a-z0-9]{30})\b" ["oau", "th:k3j9xq0ftz8lmw2avb7yprs4hd6gnc"] "oauth:x";
    "nylas" Ahead ["nyk_v0_", "nylk_"] r"(?:nyk_v0_[A-Za-z0-9]{40,}|nylk_[A-Za-z0-9]{30,})" ["ny", "k_v0_", A36, A24] "nyk_v0_";
    "beamer" Ahead ["b_"] r"b_[A-Za-z0-9=_\-]{44}\b" ["b", "_", A36, "abcdefgh"] "b_tree";
    "send-bird" Ahead ["sendbird_"] r"sendbird_[0-9a-f]{40}" ["send", "bird_", H32, "3f9a1c7e"] "sendbird_x";
    "knock" Ahead ["sk_prod_", "sk_dev_"] r"sk_(?:prod|dev)_[A-Za-z0-9_\-]{24,}" ["sk", "_prod_", A36] "sk_prod_";
    "klaviyo" Ahead ["pk_"] r"pk_[0-9a-f]{34}\b" ["p", "k_", H32, "3f"] "pk_id";
    "clickup" Ahead ["pk_"] r"pk_[0-9]{6,9}_[A-Z0-9]{32}\b" ["p", "k_1234567_", U26, "ABC123"] "pk_1";
    "novu" Ahead ["nv_"] r"nv_[A-Za-z0-9]{32,}" ["n", "v_", A36] "nv_x";
}
