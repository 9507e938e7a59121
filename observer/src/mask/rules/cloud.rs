//! Clouds: their keys, their signed URLs, their consoles.

#[cfg(test)]
use super::filler::*;
use super::rules;

rules! {
    "aws-key-id" Ahead ["AKIA", "ASIA", "ABIA", "ACCA"] r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}" ["AK", "IAIOSFODNN7EXAMPLE"] "AKIAlowercase0000000";
    "aws-session" Ahead ["IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz"] r"(?:IQoJb3JpZ2lu|F[wQ]oGZXIvYXdz)[A-Za-z0-9+/=%]{60,}" ["IQoJb3", "JpZ2lu", A36, A36] "IQoJb3JpZ2lu";
    "aws-bedrock" Ahead ["ABSKQmVkcm9ja0FQSUtleS", "bedrock-api-key-"] r"(?:ABSKQmVkcm9ja0FQSUtleS[A-Za-z0-9+/=]{40,}|bedrock-api-key-[A-Za-z0-9+/=]{40,})" ["bedrock-", "api-key-", A36, A24] "bedrock-api-key-x";
    "aws-signed-url" Ahead ["X-Amz-Signature=", "x-amz-signature="] r"(?i)x-amz-signature=([0-9a-f]{40,})" ["X-Amz-Signature=", H32, H32] "X-Amz-Signature=x";
    "aws-mws" Ahead ["amzn.mws."] r"amzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" ["amzn", ".mws.3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "amzn.mws.x";
    "amazon-oauth" Ahead ["amzn1.oa2-cs.v1."] r"amzn1\.oa2-cs\.v1\.[0-9a-f]{64}" ["amzn1", ".oa2-cs.v1.", H32, H32] "amzn1.oa2-cs.v1.";
    "google-api" Ahead ["AIza"] r"AIza[A-Za-z0-9_\-]{35}" ["AI", "zaSy", A24, "abcdefghi"] "AIza";
    "google-oauth" Ahead ["ya29."] r"ya29\.[A-Za-z0-9_\-.]{20,}" ["ya", "29.a0AfH6SMB", A36] "ya29.";
    "google-client-secret" Ahead ["GOCSPX-"] r"GOCSPX-[A-Za-z0-9_\-]{20,}" ["GOC", "SPX-", A24, "abcd"] "GOCSPX-";
    "google-refresh" Ahead ["1//0"] r"1//0[A-Za-z0-9_\-]{40,}" ["1/", "/0", A36, A24] "1//0";
    "google-signed-url" Ahead ["X-Goog-Signature="] r"X-Goog-Signature=([0-9a-f]{64,})" ["X-Goog-Signature=", H32, H32] "X-Goog-Signature=x";
    "azure-storage" Ahead ["AccountKey=", "SharedAccessKey=", "accountkey="] r"(?i)(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/=]{40,})" ["AccountKey=", A36, "klmnopqrst=="] "AccountKey=x";
    "azure-signed" Around ["ASt", "ACDb", "ASb", "AEh", "AIoT", "ARm", "ACR", "AzFu", "AzSe", "AzCa", "APIM"] r"\b([A-Za-z0-9+/]{33}(?:APIM|ACDb|AIoT|ACR)[A-Za-z0-9+/=]{4,10}|[A-Za-z0-9+/]{33}\+A(?:Sb|Eh|Rm)[A-Za-z0-9+/=]{5,12}|[A-Za-z0-9_\-]{44}AzFu[A-Za-z0-9_\-=]{5,10}|[A-Za-z0-9]{42}AzSe[A-Z][A-Za-z0-9]{5}|[A-Za-z0-9+/]{76}(?:\+ASt|ACDb)[A-Za-z0-9+/=]{8,12})" [A36, "abcdef", "AzSe", "Dabc12"] "AzSearchService";
    "azure-sas" Around ["sig="] r"[?&]?\bsig=([A-Za-z0-9%+/=]{30,})" ["sig=", A36, "klmn%3D"] "?sig=a";
    "azure-ad" Around ["Q~"] r"\b([A-Za-z0-9_.~\-]{3}[78]Q~[A-Za-z0-9_.~\-]{31,34})" ["abc8", "Q~", "k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnCe1Ui"] "Q~";
    "azure-devops" Around ["AZDO"] r"\b([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b" [A36, A36, "abcd", "AZ", "DO1234"] "AZDO";
    "azure-openai" Around ["JQQJ99"] r"\b([A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26})\b" [A36, "k3J9xQ0fTz8LmW2a", "JQQ", "J99", U26] "JQQJ99";
    "digitalocean" Ahead ["dop_v1_", "doo_v1_", "dor_v1_"] r"do[opr]_v1_[0-9a-f]{64}" ["do", "p_v1_", H32, H32] "dop_v1_";
    "digitalocean-spaces" Ahead ["DO00", "DO801"] r"DO(?:00|801)[A-Z0-9]{16}\b" ["DO", "00ABCDEFGHIJKLMN7Q"] "DO00";
    "cloudflare-origin" Ahead ["v1.0-"] r"v1\.0-[0-9a-f]{24}-[0-9a-f]{100,}" ["v1", ".0-3f9a1c7e5b2d8064a1f3c9e7-", H32, H32, H32, H32, H10, "3f9a1c7e"] "v1.0-beta";
    "cloudflare-token" Ahead ["cfut_", "cfat_", "cfk_"] r"cf(?:ut|at|k)_[A-Za-z0-9_\-]{36,}" ["cf", "ut_", A36, A8] "cfut_";
    "cloudflare-tunnel" Ahead ["eyJhIjoi"] r"eyJhIjoi[A-Za-z0-9+/=_\-]{100,}" ["eyJ", "hIjoi", A36, A36, A36] "eyJhIjoi";
    "alibaba" Ahead ["LTAI"] r"LTAI[A-Za-z0-9]{12,24}\b" ["LT", "AI5tk3J9xQ0fTz8LmW2aVb7Y"] "LTAI";
    "tencent" Ahead ["AKID"] r"AKID[A-Za-z0-9]{28,32}\b" ["AK", "ID", A24, A8] "AKID";
    "yandex" Ahead ["AQVN", "y0_", "t1.9eu", "YCAJ", "YCM", "YCN", "YCO", "YCP"] r"(?:AQVN[A-Za-z0-9_\-]{35,38}|y0_[A-Za-z0-9_\-]{50,}|t1\.9eu[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]{60,}|YCAJ[A-Za-z0-9_\-]{21}\b|YC[MNOP][A-Za-z0-9_\-]{37}\b)" ["AQ", "VN", A36] "y0_";
    "scaleway" Ahead ["SCW"] r"SCW[A-Z0-9]{17}\b" ["SC", "WQ7ZK2MXW4PRT6VBN3"] "SCW_ACCESS_KEY";
    "oracle" Ahead ["ocid1."] r"ocid1\.(?:credential|apikey|customersecretkey)\.[A-Za-z0-9._\-]{30,}" ["ocid1", ".credential.oc1..", A36] "ocid1.tenancy.oc1..x";
    "ovh" Ahead ["ovh_at_"] r"ovh_at_[A-Za-z0-9_\-]{24,}" ["ov", "h_at_", A36] "ovh_at_x";
    "aiven" Ahead ["AVNS_", "aivenv1"] r"(?:AVNS_[A-Za-z0-9_\-]{16,}|aivenv1[A-Za-z0-9+/=]{100,})" ["AV", "NS_", A24] "AVNS_x";
    "dns-simple" Ahead ["dnsimple_a_", "dnsimple_u_"] r"dnsimple_[au]_[A-Za-z0-9]{24,}" ["dns", "imple_a_", A36] "dnsimple_a_x";
    "porkbun" Ahead ["sk1_", "pk1_"] r"[sp]k1_[0-9a-f]{60,}" ["sk", "1_", H32, H32] "sk1_x";
    "linode" Ahead ["linode_"] r"linode_[0-9a-f]{40,}" ["lin", "ode_", H32, H32] "linode_instance";
    "ngrok" Ahead ["ngrok_", "cr_"] r"(?:ngrok_[A-Za-z0-9]{20,}_[A-Za-z0-9]{20,}|cr_[A-Za-z0-9]{27}\b)" ["cr", "_k3J9xQ0fTz8LmW2aVb7YpRs4Hd6"] "cr_x";
    "zerossl-eab" Ahead ["eab_"] r"eab_[A-Za-z0-9_\-]{40,}" ["ea", "b_", A36, A8] "eab_kid";
    "adobe" Ahead ["p8e-", "p8."] r"(?:p8e-[A-Za-z0-9]{32}|p8\.[A-Za-z0-9_\-]{40,})" ["p8", "e-", A24, A8] "p8e-x";
    "salesforce" Ahead ["00D"] r"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{60,}" ["00", "Dk3J9xQ0fTz8Lm!", A36, A36] "00D";
    "zapier-hook" Ahead ["hooks.zapier.com"] r"hooks\.zapier\.com/hooks/(?:catch|standard)/([0-9]+/[A-Za-z0-9]{5,})" ["https://hooks.zapier.com/hooks/", "catch/1234567/a1b2c3d"] "hooks.zapier.com/app";
    "teams-hook" Ahead ["webhook.office.com"] r"webhook\.office\.com/webhookb2/([0-9a-f@\-]{36,}/IncomingWebhook/[0-9a-f]{32}/[0-9a-f\-]{36})" ["https://x.webhook.office.com/webhookb2/", "3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264@3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264/IncomingWebhook/", H32, "/3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "webhook.office.com";
}
