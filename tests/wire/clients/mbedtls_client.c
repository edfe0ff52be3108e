/* A device with mbedTLS as Debian builds it. Says one HTTP request over TLS 1.2 and prints what was agreed upon and the answer's
 * first line:
 *
 *     mbedtls_client HOST PORT CA.pem PATH [SUITE]
 */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <stdio.h>
#include <string.h>

static int fail(const char *step, int result) {
    char text[200] = "";
    mbedtls_strerror(result, text, sizeof text);
    fprintf(stderr, "%s failed: %s\n", step, text);
    return 1;
}

static int ask(mbedtls_ssl_context *ssl, const char *host, const char *path) {
    unsigned char text[1024];
    int result = mbedtls_ssl_handshake(ssl);
    if (result != 0) {
        return fail("handshake", result);
    }
    printf("%s %s\n", mbedtls_ssl_get_version(ssl), mbedtls_ssl_get_ciphersuite(ssl));
    int length =
        snprintf((char *)text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
    if (mbedtls_ssl_write(ssl, text, (size_t)length) != length) {
        return fail("write", 0);
    }
    result = mbedtls_ssl_read(ssl, text, sizeof text - 1);
    if (result <= 0) {
        return fail("read", result);
    }
    text[result] = '\0';
    printf("%.*s\n", (int)strcspn((char *)text, "\r"), text);
    return 0;
}

int main(int count, char **arguments) {
    mbedtls_net_context tcp;
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt authorities;
    mbedtls_ssl_config config;
    mbedtls_ssl_context ssl;
    int suites[2] = {0, 0};
    if (count < 5) {
        return fail("usage", 0);
    }
    mbedtls_net_init(&tcp);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&random);
    mbedtls_x509_crt_init(&authorities);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&ssl);
    mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0);
    int result = mbedtls_x509_crt_parse_file(&authorities, arguments[3]);
    if (result != 0) {
        return fail("CA", result);
    }
    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_ca_chain(&config, &authorities, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
    if (count > 5) {
        suites[0] = mbedtls_ssl_get_ciphersuite_id(arguments[5]);
        mbedtls_ssl_conf_ciphersuites(&config, suites);
    }
    result = mbedtls_net_connect(&tcp, arguments[1], arguments[2], MBEDTLS_NET_PROTO_TCP);
    if (result != 0) {
        return fail("connect", result);
    }
    mbedtls_ssl_setup(&ssl, &config);
    /* It compares names and no addresses: the certificate covers both. */
    mbedtls_ssl_set_hostname(&ssl, "localhost");
    mbedtls_ssl_set_bio(&ssl, &tcp, mbedtls_net_send, mbedtls_net_recv, NULL);
    return ask(&ssl, arguments[1], arguments[4]);
}
