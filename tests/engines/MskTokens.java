import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * What a broker of MSK looks at in the token that a client sends for OAUTHBEARER: a signed address of kafka-cluster:Connect, in Base64.
 * The user is called by the access key. A token lasts LIFETIME seconds here, so that a test sees a client log in again.
 */
public class MskTokens implements AuthenticateCallbackHandler {
    private static final long LIFETIME = Long.getLong("msk.lifetime", 6);
    private static final DateTimeFormatter AMZ = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'");

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback asked) {
                check(asked);
            } else if (!(callback instanceof OAuthBearerExtensionsValidatorCallback)) {
                throw new UnsupportedCallbackException(callback);
            }
        }
    }

    private static void check(OAuthBearerValidatorCallback asked) {
        try {
            String text = new String(Base64.getUrlDecoder().decode(asked.tokenValue()), StandardCharsets.UTF_8);
            URI address = URI.create(text);
            Map<String, String> found = new HashMap<>();
            for (String part : address.getQuery().split("&")) {
                int at = part.indexOf('=');
                found.put(part.substring(0, at), part.substring(at + 1));
            }
            String[] scope = found.get("X-Amz-Credential").split("/");
            Instant signed = LocalDateTime.parse(found.get("X-Amz-Date"), AMZ).toInstant(ZoneOffset.UTC);
            boolean right = "kafka-cluster:Connect".equals(found.get("Action")) && scope[3].equals("kafka-cluster")
                && address.getHost().equals("kafka." + scope[2] + ".amazonaws.com")
                && found.get("X-Amz-Signature").length() == 64
                && Instant.now().isBefore(signed.plusSeconds(Long.parseLong(found.get("X-Amz-Expires"))));
            if (!right) {
                asked.error("invalid_token", null, null);
                return;
            }
            System.err.println("token of " + scope[0] + " signed " + signed);
            asked.token(new Token(asked.tokenValue(), scope[0], signed.toEpochMilli(), Instant.now().plusSeconds(LIFETIME).toEpochMilli()));
        } catch (RuntimeException unreadable) {
            asked.error("invalid_token", null, null);
        }
    }

    @Override
    public void close() {}

    private record Token(String value, String principalName, Long startTimeMs, long lifetimeMs) implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }
}
