//! Payment, shops, shipping.

#[cfg(test)]
use super::filler::*;
use super::rules;

rules! {
    "stripe" Ahead ["sk_live_", "sk_test_", "rk_live_", "rk_test_", "sk_org_"] r"[sr]k_(?:live|test|org)_[A-Za-z0-9_]{10,}" ["sk", "_live_", A24] "sk_live_";
    "stripe-webhook" Ahead ["whsec_"] r"whsec_[A-Za-z0-9+/]{20,}" ["wh", "sec_", A36] "whsec_a";
    "stripe-ephemeral" Ahead ["ek_live_", "ek_test_", "_secret_"] r"(?:ek_(?:live|test)_[A-Za-z0-9]{20,}|_secret_([A-Za-z0-9]{20,})\b)" ["ek", "_live_", A36] "ek_live_";
    "square" Ahead ["sq0atp-", "sq0csp-", "EAAA"] r"(?:sq0(?:atp|csp)-[A-Za-z0-9_\-]{22,}|EAAA[A-Za-z0-9_\-]{60})" ["sq0", "atp-k3J9xQ0fTz8LmW2aVb7YpR"] "sq0atp-";
    "paypal" Ahead ["A21AA"] r"A21AA[A-Za-z0-9_\-]{80,}" ["A2", "1AA", A36, A36, A24] "A21AA";
    "braintree" Ahead ["access_token$"] r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}" ["access_", "token$production$3f9a1c7e5b2d8064$", H32] "access_token$x";
    "adyen" Ahead ["AQE"] r"AQE[a-z0-9][A-Za-z0-9+/=]{60,}-[A-Za-z0-9+/=]{40,}-" ["AQ", "Eyh", A36, A36, "-", A36, A24, "-k3J9xQ0f"] "AQE";
    "razorpay" Ahead ["rzp_live_", "rzp_test_"] r"rzp_(?:live|test)_[A-Za-z0-9]{14,}" ["rz", "p_live_k3J9xQ0fTz8LmW"] "rzp_live_";
    "flutterwave" Ahead ["FLWSECK-", "FLWSECK_TEST-"] r"FLWSECK(?:_TEST)?-[A-Za-z0-9]{12,}(?:-X)?" ["FLW", "SECK-", H32, "-X"] "FLWSECK-";
    "plaid" Ahead ["access-production-", "access-sandbox-", "access-development-"] r"access-(?:production|sandbox|development)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}" ["access-", "production-3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "access-production-x";
    "shippo" Ahead ["shippo_live_", "shippo_test_"] r"shippo_(?:live|test)_[0-9a-f]{40}" ["ship", "po_live_", H32, "3f9a1c7e"] "shippo_live_";
    "easypost" Ahead ["EZAK", "EZTK"] r"EZ[AT]K[A-Za-z0-9]{54}" ["EZ", "AK", A36, "k3J9xQ0fTz8LmW2aVb"] "EZAK";
    "duffel" Ahead ["duffel_live_", "duffel_test_"] r"duffel_(?:live|test)_[A-Za-z0-9_\-=]{40,}" ["duff", "el_live_", A36, A8] "duffel_live_";
    "lob" Ahead ["live_", "test_"] r"(?:live|test)_[0-9a-f]{35}\b" ["li", "ve_", H32, "3f9"] "live_reload";
    "mollie" Ahead ["live_", "test_"] r"(?:live|test)_[A-Za-z0-9]{30}\b" ["li", "ve_k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnC"] "test_the_thing";
    "gocardless" Ahead ["live_", "sandbox_"] r"(?:live|sandbox)_[A-Za-z0-9_\-]{40}\b" ["sand", "box_", A36, "abcd"] "sandbox_mode";
    "xendit" Ahead ["xnd_production_", "xnd_development_"] r"xnd_(?:production|development)_[A-Za-z0-9]{30,}" ["xn", "d_production_", A36] "xnd_production_";
    "mercadopago" Ahead ["APP_USR-"] r"APP_USR-[0-9]{10,}-[0-9]{6}-[0-9a-f]{32}-[0-9]{6,}" ["APP", "_USR-1234567890123456-123456-", H32, "-123456789"] "APP_USR-x";
    "paddle" Ahead ["pdl_live_", "pdl_sdbx_", "pdl_ntfset_"] r"pdl_(?:live|sdbx|ntfset)_[A-Za-z0-9_+/]{30,}" ["pd", "l_live_apikey_01jkabcdef0123456789abcdef_", A24] "pdl_live_x";
    "polar" Ahead ["polar_pat_", "polar_oat_", "polar_cs_", "polar_at_"] r"polar_(?:pat|oat|cs|at)_[A-Za-z0-9_]{20,}" ["po", "lar_pat_", A36] "polar_pat_";
    "klarna" Ahead ["klarna_live_api_", "klarna_test_api_"] r"klarna_(?:live|test)_api_[A-Za-z0-9+/=_\-]{40,}" ["klar", "na_live_api_", A36, A24] "klarna_live_api_";
    "sumup" Ahead ["sup_sk_"] r"sup_sk_[A-Za-z0-9]{30,}" ["su", "p_sk_", A36] "sup_sk_x";
    "checkout" Ahead ["sk_sbox_"] r"sk_sbox_[a-z0-9]{26,}" ["sk", "_sbox_abcdefghijklmnopqrst012345"] "sk_sbox_x";
    "shopify" Ahead ["shpat_"] r"shpat_[0-9a-fA-F]{32}" ["shp", "at_", H32] "shpat_x";
    "shopify-custom" Ahead ["shpca_"] r"shpca_[0-9a-fA-F]{32}" ["shp", "ca_", H32] "shpca_x";
    "shopify-private" Ahead ["shppa_"] r"shppa_[0-9a-fA-F]{32}" ["shp", "pa_", H32] "shppa_x";
    "shopify-shared" Ahead ["shpss_", "shpit_", "shprt_"] r"shp(?:ss|it|rt)_[0-9a-zA-Z]{32,}" ["shp", "ss_", H32] "shpss_x";
    "coinbase" Ahead ["organizations/"] r"organizations/[0-9a-f\-]{36}/apiKeys/([0-9a-f\-]{36})" ["organizations/3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264/", "apiKeys/3f9a1c7e-5b2d-4064-a1f3-c9e7d5b08264"] "organizations/x";
    "alchemy" Ahead ["alcht_"] r"alcht_[A-Za-z0-9]{30}" ["al", "cht_k3J9xQ0fTz8LmW2aVb7YpRs4Hd6GnC"] "alcht_x";
    "bitcoin-xprv" Ahead ["xprv", "yprv", "zprv", "tprv"] r"[xyzt]prv[1-9A-HJ-NP-Za-km-z]{100,}" ["xp", "rv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi"] "xprv";
    "nostr" Ahead ["nsec1"] r"nsec1[02-9ac-hj-np-z]{58}" ["ns", "ec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"] "nsec1x";
}
