//DEPS org.apache.kafka:kafka-clients:4.2.2
//DEPS com.fasterxml.jackson.core:jackson-databind:2.21.6
//DEPS org.apache.avro:avro:1.12.2

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * An execution service: takes sized orders, executes each once, reports every end as a fill.
 *
 * <p>Its venue is simulated: it fills at the reference price and closes the position at once, some way off that price.
 * An order without a price it cannot fill: that one is canceled when its time is up. A report that the sizer refuses is
 * told on stderr: it may be a real position that no limit counts. One instance runs on one journal.
 */
public class ExecutionService {
    private static final String HELP = """
        usage: java ExecutionService.java [option value ...]

          --bootstrap-servers  (localhost:9092)
          --prefix             the sizer's topic prefix, if it has one
          --journal            file of the orders taken (execution.jsonl)
          --move               close so far off the reference price (0.01 = +1 %)
          --registry           URL of the schema registry, where sized_orders is written as Avro

        examples:

          trade what the sizer on this machine sizes, and close each position 1 % above where it was opened
            java ExecutionService.java

          another Kafka, topics with a prefix; a journal per prefix; trades that lose
            java ExecutionService.java --bootstrap-servers kafka:9092 --prefix desk. --journal desk.jsonl --move -0.01

          where sized_orders is written as Avro
            java ExecutionService.java --registry http://localhost:8081
        """;
    private static final Map<String, String> DEFAULTS = Map.of(
        "--bootstrap-servers", "localhost:9092", "--prefix", "", "--journal", "execution.jsonl", "--move", "0.01",
        "--registry", "");
    private static final long DELIVERY_SECONDS = 30;
    private static final ObjectMapper JSON = new ObjectMapper();

    private static volatile boolean stopping;

    /**
     * Which orders were taken, which of them still work, and which reports are not delivered yet.
     *
     * <p>A file to which lines of JSON are appended, and of what it says a copy in memory. What was appended counts once
     * it is on the disk; half a line at its end, of a process that was killed, never counted. For more than some
     * millions of orders take a database.
     */
    static final class Journal {
        private final FileChannel file;
        private final ByteArrayOutputStream appended = new ByteArrayOutputStream();
        private final Set<String> taken = new HashSet<>();
        private final Map<String, JsonNode> working = new LinkedHashMap<>();
        private final List<JsonNode> waiting = new ArrayList<>();

        Journal(Path path) throws IOException {
            file = FileChannel.open(path,
                StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            if (file.tryLock() == null) {
                throw new IOException("another instance is using it");
            }
            ByteBuffer content = ByteBuffer.allocate(Math.toIntExact(file.size()));
            while (content.hasRemaining() && file.read(content) >= 0) {}
            int end = 0;
            for (int i = 0; i < content.position(); i++) {
                if (content.get(i) == '\n') {
                    apply(JSON.readTree(Arrays.copyOfRange(content.array(), end, i)));
                    end = i + 1;
                }
            }
            file.truncate(end).position(end);
        }

        boolean hasTaken(String orderId) {
            return taken.contains(orderId);
        }

        List<JsonNode> working() {
            return List.copyOf(working.values());
        }

        List<JsonNode> waiting() {
            return waiting;
        }

        /** Adds a line: an order with its reports so far, or how many of the waiting reports were delivered. */
        void append(JsonNode line) throws IOException {
            appended.write(JSON.writeValueAsBytes(line));
            appended.write('\n');
            apply(line);
        }

        /** Returns when all that was appended is on the disk. */
        void commit() throws IOException {
            ByteBuffer bytes = ByteBuffer.wrap(appended.toByteArray());
            while (bytes.hasRemaining()) {
                file.write(bytes);
            }
            file.force(false);
            appended.reset();
        }

        private void apply(JsonNode line) {
            if (line.has("delivered")) {
                waiting.subList(0, line.get("delivered").intValue()).clear();
                return;
            }
            String orderId = line.get("order_id").textValue();
            taken.add(orderId);
            if (line.get("reports").isEmpty()) {
                working.put(orderId, line);
            } else { // this venue fills the whole or nothing: whatever it reports is the order's end
                working.remove(orderId);
                line.get("reports").forEach(waiting::add);
            }
        }
    }

    /** Reads records of sized_orders: JSON, or Avro in Confluent framing if there is a registry. */
    static final class OrderReader {
        private final String registry;
        private final Map<Integer, Schema> schemas = new HashMap<>();
        private final GenericData model = new GenericData();

        OrderReader(String registry) {
            this.registry = registry;
            model.addLogicalTypeConversion(new Conversions.DecimalConversion());
            model.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
        }

        /** Returns an order with its fields as JSON has them. */
        JsonNode read(byte[] value) throws IOException, InterruptedException {
            if (value[0] == '{') {
                return JSON.readTree(value);
            }
            if (registry.isEmpty()) {
                throw new IOException("sized_orders is written as Avro: say --registry URL");
            }
            Schema schema = schema(ByteBuffer.wrap(value).getInt(1)); // after the byte that says which framing it is
            var reader = new GenericDatumReader<GenericRecord>(schema, schema, model);
            GenericRecord record = reader.read(null, DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null));
            ObjectNode order = JSON.createObjectNode();
            for (Schema.Field field : schema.getFields()) {
                Object found = record.get(field.pos());
                String text = found instanceof BigDecimal number ? number.toPlainString() : String.valueOf(found);
                order.put(field.name(), found == null ? null : text);
            }
            return order;
        }

        private Schema schema(int id) throws IOException, InterruptedException {
            if (!schemas.containsKey(id)) { // what a number stands for never changes
                var request = HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build();
                var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
                if (response.statusCode() != 200) {
                    throw new IOException(request.uri() + ": " + response.body());
                }
                schemas.put(id, new Schema.Parser().parse(JSON.readTree(response.body()).get("schema").textValue()));
            }
            return schemas.get(id);
        }
    }

    /** Takes a record of sized_orders; only a new SIZED one does anything. */
    static void take(Journal journal, JsonNode order, BigDecimal move) throws IOException {
        // The id is remembered for ever: an order_id never has two contents.
        if (!order.get("decision").textValue().equals("SIZED") || journal.hasTaken(order.get("order_id").textValue())) {
            return;
        }
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        List<ObjectNode> reports = new ArrayList<>();
        // With a real venue: commit the journal, then send with ClOrdID = order_id; after a crash, ask for it first.
        if (!now.isBefore(Instant.parse(order.get("send_before").textValue()))) {
            reports.add(report(order, "1", now).put("exec_type", "EXPIRED"));
        } else if (!order.get("price").isNull()) {
            BigDecimal price = decimal(order, "price");
            // The notional is the limit. The quantity is advice, from a reference price: it may cost more elsewhere.
            BigDecimal affordable = decimal(order, "notional").divide(price, 8, RoundingMode.DOWN);
            String quantity = decimal(order, "quantity").min(affordable).toPlainString();
            reports.add(report(order, "1", now).put("exec_type", "TRADE").put("last_qty", quantity)
                .put("last_px", price.toPlainString()).put("leaves_qty", "0"));
            BigDecimal exit = price.multiply(move.add(BigDecimal.ONE)).setScale(12, RoundingMode.DOWN);
            reports.add(report(order, "2", now).put("exec_type", "TRADE").put("last_qty", quantity)
                .put("last_px", exit.toPlainString()).put("position_effect", "CLOSE"));
        }
        append(journal, order, reports);
    }

    /** Cancels what still works at its expires_at: a minute later the sizer gives its reservation to others. */
    static void cancelOverdue(Journal journal) throws IOException {
        Instant now = Instant.now().truncatedTo(ChronoUnit.MICROS);
        for (JsonNode order : journal.working()) {
            if (!now.isBefore(Instant.parse(order.get("expires_at").textValue()))) {
                append(journal, order, List.of(report(order, "cancel", now).put("exec_type", "CANCELED")));
            }
        }
    }

    /** Delivers the reports in their order; what cannot be delivered stays in the journal. */
    static void deliver(Journal journal, KafkaProducer<String, byte[]> producer, String topic)
        throws IOException, InterruptedException, ExecutionException, TimeoutException {
        List<Future<?>> deliveries = new ArrayList<>();
        for (JsonNode fill : journal.waiting()) {
            String portfolio = fill.get("portfolio_id").textValue();
            deliveries.add(producer.send(new ProducerRecord<>(topic, portfolio, JSON.writeValueAsBytes(fill))));
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(DELIVERY_SECONDS);
        for (Future<?> delivery : deliveries) {
            delivery.get(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
        }
        if (!deliveries.isEmpty()) {
            journal.append(JSON.createObjectNode().put("delivered", deliveries.size()));
            journal.commit();
        }
    }

    /** Tells a human of a fill that did not count: the sizer's reason is in the headers. */
    static void tellRefused(ConsumerRecord<byte[], byte[]> fill) {
        String value = fill.value() == null ? "" : new String(fill.value(), StandardCharsets.UTF_8);
        System.err.printf("REFUSED %s: %s: %s%n",
            header(fill, "__streams.errors.exception"), header(fill, "__streams.errors.message"), value);
    }

    /** Takes orders until it is to stop. Offsets are committed behind delivered fills: nothing taken is ever lost. */
    static void run(Map<String, String> options) throws Exception {
        String prefix = options.get("--prefix");
        String name = prefix + "execution-service";
        BigDecimal move = new BigDecimal(options.get("--move"));
        OrderReader orders = new OrderReader(options.get("--registry"));
        Map<String, Object> client = Map.of(
            "bootstrap.servers", options.get("--bootstrap-servers"),
            "reconnect.backoff.ms", 1_000,
            "reconnect.backoff.max.ms", 10_000);
        Map<String, Object> reading = new HashMap<>(client);
        reading.putAll(Map.of(
            "group.id", name,
            // A static member: it has its partitions back at once after a crash, and a second instance ends the first.
            "group.instance.id", name,
            "isolation.level", "read_committed",
            "enable.auto.commit", false,
            "auto.offset.reset", "earliest",
            "allow.auto.create.topics", false));
        Map<String, Object> writing = new HashMap<>(client);
        // No partitioner is set: the default hashes keys by murmur2. No time-out: a report that is given up while a later
        // one arrives would change their order.
        writing.putAll(Map.of("enable.idempotence", true, "delivery.timeout.ms", Integer.MAX_VALUE));
        var journal = new Journal(Path.of(options.get("--journal")));
        try (var consumer = new KafkaConsumer<>(reading, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            // It is never closed: close() would wait for what is not delivered, and that is in the journal.
            var producer = new KafkaProducer<>(writing, new StringSerializer(), new ByteArraySerializer());
            consumer.subscribe(List.of(prefix + "sized_orders", prefix + "fills.dlq"));
            while (!stopping) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    if (record.topic().endsWith("fills.dlq")) {
                        tellRefused(record);
                    } else {
                        take(journal, orders.read(record.value()), move);
                    }
                }
                cancelOverdue(journal);
                journal.commit();
                deliver(journal, producer, prefix + "fills");
                if (!records.isEmpty()) {
                    consumer.commitSync();
                }
            }
        }
    }

    /** Runs until SIGTERM or Ctrl-C. */
    public static void main(String[] arguments) throws Exception {
        Map<String, String> options = options(arguments);
        var ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            try {
                ended.await();
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }));
        int status = 1;
        try {
            run(options);
            status = 0;
        } catch (IOException | KafkaException | ExecutionException | TimeoutException error) {
            System.err.println("execution service: " + error + ": start again, nothing is lost");
        } finally {
            ended.countDown();
        }
        System.exit(status);
    }

    /** Adds to the journal what became of an order. */
    private static void append(Journal journal, JsonNode order, List<ObjectNode> reports) throws IOException {
        ObjectNode line = JSON.createObjectNode();
        for (String field : List.of("order_id", "portfolio_id", "expires_at")) {
            line.set(field, order.get(field));
        }
        line.putArray("reports").addAll(reports);
        journal.append(line);
        for (ObjectNode fill : reports) {
            String quantity = fill.has("last_qty") ? " " + fill.get("last_qty").textValue() : "";
            System.out.println(fill.get("order_id").textValue() + " " + fill.get("exec_type").textValue() + quantity);
        }
    }

    private static ObjectNode report(JsonNode order, String number, Instant now) {
        String orderId = order.get("order_id").textValue();
        return JSON.createObjectNode()
            // The venue's own id of the report: the same whenever it is sent again, so that nothing counts twice.
            .put("exec_id", orderId + "/" + number)
            .put("order_id", orderId)
            .put("portfolio_id", order.get("portfolio_id").textValue())
            .put("transact_time", now.toString());
    }

    private static BigDecimal decimal(JsonNode order, String field) {
        return new BigDecimal(order.get(field).textValue());
    }

    private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
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
            if (!words.hasNext() || !DEFAULTS.containsKey(name)) {
                System.err.println("execution service: " + name + ": unknown, or its value is missing; see --help");
                System.exit(2);
            }
            options.put(name, words.next());
        }
        return options;
    }
}
