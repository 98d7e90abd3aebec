//DEPS org.apache.kafka:kafka-clients:4.2.2
//DEPS com.fasterxml.jackson.core:jackson-databind:2.21.6
//DEPS org.apache.avro:avro:1.12.2

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A signal producer: sends one signal, or several, and knows of each that it arrived.
 *
 * <p>What makes it safe is that a signal is never made twice: its signal_id, its generated_at and its bytes are chosen
 * once, before the first try, and every further try sends the same. The sizer answers the first and ignores the rest.
 */
public class SignalProducer {
    private static final String HELP = """
        usage: java SignalProducer.java --portfolio PF-1 [option value ...]

          --portfolio          portfolio_id, which is also the record's key
          --bootstrap-servers  (localhost:9092)
          --prefix             the sizer's topic prefix, if it has one
          --symbol             (ESZ6)
          --side               BUY or SELL (BUY)
          --confidence         from 0 to 1 (0.9)
          --price              the reference price; without one the answer has no quantity
          --portfolio-value    what the account is worth; without one the last known value counts
          --good-for           seconds: no order later than this
          --signal-id          of a signal that may have been sent before (a new one for each signal)
          --count              how many signals (1)
          --timeout            seconds of each try (20)
          --format             json or avro (json)
          --registry           URL of the schema registry, for avro

        examples:

          one signal, sized at full confidence
            java SignalProducer.java --portfolio PF-1 --portfolio-value 100000 --price 5000 --confidence 0.9

          five signals that are worth sending for a minute only, to another Kafka and to topics with a prefix
            java SignalProducer.java --bootstrap-servers kafka:9092 --prefix desk. --portfolio PF-1 --count 5 --good-for 60

          as Avro, by the schema that the registry has for the topic
            java SignalProducer.java --portfolio PF-1 --format avro --registry http://localhost:8081
        """;
    private static final Map<String, String> DEFAULTS = Map.of(
        "--bootstrap-servers", "localhost:9092", "--prefix", "", "--symbol", "ESZ6", "--side", "BUY",
        "--confidence", "0.9", "--count", "1", "--timeout", "20", "--format", "json");
    private static final Set<String> WITHOUT_DEFAULT =
        Set.of("--portfolio", "--price", "--portfolio-value", "--good-for", "--signal-id", "--registry");
    private static final int ATTEMPTS = 3;

    /** A signal as it is sent. Keep it until it is delivered, and send it again as it is. */
    record Signal(String id, String portfolio, byte[] value) {}

    public static void main(String[] arguments) throws Exception {
        try {
            System.exit(run(options(arguments)));
        } catch (IllegalArgumentException error) {
            System.err.println("signal producer: " + error.getMessage());
            System.exit(2);
        } catch (IOException | AvroRuntimeException error) {
            System.err.println("signal producer: nothing was sent; no schema from the registry, or it does not fit: " + error);
            System.exit(1);
        } catch (KafkaException error) { // of its configuration: of a record it was told already
            System.err.println("signal producer: " + (error.getCause() == null ? error : error.getCause()));
            System.exit(1);
        }
    }

    /** Sends the signals; returns 1 if one may not have arrived. */
    static int run(Map<String, String> options) throws Exception {
        List<Signal> missing = new ArrayList<>();
        Encoder encoder = SignalProducer::json;
        if (options.get("--format").equals("avro")) {
            encoder = avro(options.get("--registry"), options.get("--prefix") + "signals");
        }
        for (int i = Integer.parseInt(options.get("--count")); i > 0; i--) {
            missing.add(newSignal(options, encoder));
        }
        for (int i = 0; i < ATTEMPTS && !missing.isEmpty(); i++) {
            missing = send(options, missing); // the same ones, as they are
        }
        if (missing.isEmpty()) {
            return 0;
        }
        System.err.printf("%d signals may not have arrived at %s: keep them, and send them again as they are%n",
            missing.size(), options.get("--bootstrap-servers"));
        return 1;
    }

    /** Writes a signal's fields as the value of a record. */
    interface Encoder {
        byte[] encode(Map<String, Object> fields) throws IOException;
    }

    /** Makes a signal: here its identity, its time and its bytes are fixed, for all tries. */
    static Signal newSignal(Map<String, String> options, Encoder encoder) throws IOException {
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        String goodFor = options.get("--good-for");
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("signal_id", options.getOrDefault("--signal-id", UUID.randomUUID().toString()));
        fields.put("portfolio_id", options.get("--portfolio"));
        fields.put("symbol", options.get("--symbol"));
        fields.put("side", options.get("--side"));
        fields.put("confidence", Double.valueOf(options.get("--confidence")));
        fields.put("price", decimal(options.get("--price")));
        fields.put("portfolio_value", decimal(options.get("--portfolio-value")));
        fields.put("strategy_id", "example");
        fields.put("generated_at", now);
        fields.put("expires_at", goodFor == null ? null : now.plusSeconds(Long.parseLong(goodFor)));
        return new Signal((String) fields.get("signal_id"), options.get("--portfolio"), encoder.encode(fields));
    }

    private static BigDecimal decimal(String text) {
        return text == null ? null : new BigDecimal(text);
    }

    /** As JSON. Money, prices and quantities travel as strings: no digit is lost on the way. */
    static byte[] json(Map<String, Object> fields) throws IOException {
        Map<String, Object> texts = new LinkedHashMap<>(fields);
        texts.replaceAll((name, value) -> value instanceof BigDecimal number ? number.toPlainString()
            : value instanceof Instant time ? time.toString() : value);
        return new ObjectMapper().writeValueAsBytes(texts);
    }

    /** As Avro in Confluent framing, by the latest schema that the registry has for the topic. */
    static Encoder avro(String registry, String topic) throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(URI.create(registry + "/subjects/" + topic + "-value/versions/latest")).build();
        var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IOException(request.uri() + ": " + response.body());
        }
        JsonNode found = new ObjectMapper().readTree(response.body());
        Schema schema = new Schema.Parser().parse(found.get("schema").textValue());
        GenericData model = new GenericData();
        model.addLogicalTypeConversion(new Conversions.DecimalConversion());
        model.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        return fields -> {
            var record = new GenericData.Record(schema);
            fields.forEach(record::put);
            record.put("side", new GenericData.EnumSymbol(schema.getField("side").schema(), fields.get("side")));
            var value = new ByteArrayOutputStream();
            // The framing is these five bytes: a zero, and the number of the schema.
            value.write(ByteBuffer.allocate(5).put((byte) 0).putInt(found.get("id").intValue()).array());
            BinaryEncoder binary = EncoderFactory.get().directBinaryEncoder(value, null);
            new GenericDatumWriter<>(schema, model).write(record, binary);
            return value.toByteArray();
        };
    }

    /** Tries to deliver signals; returns those of which it is not known that they arrived. */
    static List<Signal> send(Map<String, String> options, List<Signal> signals) throws Exception {
        String topic = options.get("--prefix") + "signals";
        int milliseconds = 1_000 * Integer.parseInt(options.get("--timeout"));
        // No partitioner is set: Java's default hashes keys by murmur2, which is what the sizer expects.
        Map<String, Object> config = Map.of(
            "bootstrap.servers", options.get("--bootstrap-servers"),
            "client.id", "signal-producer",
            "enable.idempotence", true, // implies acks=all; the client's own retries neither double nor reorder
            "reconnect.backoff.ms", 1_000,
            "reconnect.backoff.max.ms", 1_000,
            "retry.backoff.ms", 1_000,
            "max.block.ms", milliseconds,
            "request.timeout.ms", milliseconds / 2,
            "delivery.timeout.ms", milliseconds);
        List<Signal> missing = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> deliveries = new ArrayList<>();
            for (Signal signal : signals) {
                try {
                    deliveries.add(producer.send(new ProducerRecord<>(topic, signal.portfolio(), signal.value())));
                } catch (KafkaException error) { // this producer can do no more; another one can
                    deliveries.add(CompletableFuture.failedFuture(error));
                }
            }
            for (int i = 0; i < signals.size(); i++) {
                Signal signal = signals.get(i);
                try {
                    RecordMetadata place = deliveries.get(i).get();
                    System.out.printf("%s -> %s, partition %d, offset %d%n",
                        signal.id(), place.topic(), place.partition(), place.offset());
                } catch (ExecutionException error) {
                    System.err.println(signal.id() + " not delivered: " + error.getCause().getMessage());
                    missing.add(signal);
                }
            }
        }
        return missing;
    }

    /** Reads the command line: "--name value" or "--name=value". */
    private static Map<String, String> options(String[] arguments) {
        Map<String, String> options = new HashMap<>(DEFAULTS);
        Iterator<String> words = Stream.of(arguments)
            .flatMap(word -> word.startsWith("--") ? Stream.of(word.split("=", 2)) : Stream.of(word))
            .iterator();
        while (words.hasNext()) {
            String name = words.next();
            if (name.equals("--help")) {
                System.out.print(HELP);
                System.exit(0);
            }
            if (!words.hasNext() || !DEFAULTS.containsKey(name) && !WITHOUT_DEFAULT.contains(name)) {
                throw new IllegalArgumentException(name + ": unknown, or its value is missing; see --help");
            }
            options.put(name, words.next());
        }
        if (!options.containsKey("--portfolio")) {
            throw new IllegalArgumentException("--portfolio is missing; see --help");
        }
        if (options.get("--format").equals("avro") && !options.containsKey("--registry")) {
            throw new IllegalArgumentException("--format avro needs --registry URL");
        }
        return options;
    }
}
